use super::*;

#[tokio::test]
async fn stored_jobs_show_their_types_and_none_of_their_values() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let mails: Queue = on.client.queue("mails").open().unwrap();
    mails.add("welcome", json!({ "n": 1.5, "to": null, "tags": ["hunter2"], "a b": {} })).await.unwrap();
    let text = oxmq(&on, "types mails").await.ok();
    for told in [
        "and not declared",
        "feature `schema`",
        "export interface ObservedJobs {",
        "  welcome: { data: {\n    \"a b\"?: Record<string, never>;\n    late?: boolean;\n    n?: number;\n    tags?: Array<string>;\n    to?: string | null;\n  }; result: {\n    ok: boolean;\n  } };",
        "  receipt: { data: {\n    n: number;\n    to: string;\n  }; result: unknown };",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("ada") && !text.contains('\u{1b}'), "{text}");
    let schema: Value = serde_json::from_str(&oxmq(&on, "types mails --schema").await.ok()).unwrap();
    let receipt = &schema["properties"]["receipt"]["properties"]["data"];
    assert_eq!(receipt["required"], json!(["n", "to"]));
    assert_eq!(receipt["properties"]["n"], json!({ "type": "integer" }));
    assert!(schema["description"].as_str().unwrap().contains("not declared"), "{schema}");
    // It looks at no more jobs than `--sample` allows.
    let few = oxmq(&on, "types mails --sample 2").await.ok();
    assert!(few.contains("Observed in 8 stored jobs"), "{few}");
    assert_eq!(oxmq(&on, "types nowhere").await.code, 3);
}

//! Style, script and icon, which are part of the binary.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

const CSS: &str = include_str!("assets/app.css");
const JS: &str = include_str!("assets/app.js");

/// A version that changes with the assets, so that browsers may cache them for ever.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = sha1_smol::Sha1::new();
    digest.update(CSS.as_bytes());
    digest.update(JS.as_bytes());
    digest.digest().to_string()[..12].to_owned()
});

pub(super) fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// Draws the logo: two horns over a queue.
pub(super) fn mark() -> Markup {
    html! {
        rect width="32" height="32" rx="7" fill="#b5450f" {}
        path d="M7 8c0 6 4 8 9 8s9-2 9-8" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" {}
        path d="M9 21.5h14M12 26h8" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" {}
    }
}

pub(super) async fn serve(Path((_version, name)): Path<(String, String)>) -> Response {
    let (kind, body) = match &*name {
        "app.css" => ("text/css; charset=utf-8", CSS.to_owned()),
        "app.js" => ("text/javascript; charset=utf-8", JS.to_owned()),
        "icon.svg" => ("image/svg+xml", icon()),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")], body)
        .into_response()
}

fn icon() -> String {
    html! { svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" { (mark()) } }.into_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Returns the colours of a block of the style, by name.
    fn colours(block: &str) -> HashMap<&str, [f64; 3]> {
        let lines =
            block.lines().filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": #"));
        let part = |hex: &str, at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        lines.filter(|(_, hex)| hex.len() == 6).map(|(name, hex)| (name, [0, 2, 4].map(|at| part(hex, at)))).collect()
    }

    /// Returns the relative luminance, as WCAG 2 defines it.
    fn luminance(colour: [f64; 3]) -> f64 {
        let [red, green, blue] =
            colour.map(|part| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_text_can_be_read_on_every_ground() {
        let light = CSS.split(":root {").nth(1).unwrap().split('}').next().unwrap();
        let dark = CSS.split(":root {").nth(2).unwrap().split('}').next().unwrap();
        let texts = "text faint accent waiting active delayed failed completed prioritized children";
        for block in [light, dark] {
            let colours = colours(block);
            for text in texts.split(' ') {
                for ground in ["ground", "panel", "sunk"] {
                    let found = contrast(colours[text], colours[ground]);
                    assert!(found >= 4.5, "{text} on {ground}: {found:.2}");
                    // A badge is a word on the same colour, thinned.
                    let tint = [0, 1, 2].map(|i| colours[text][i] * 0.14 + colours["panel"][i] * 0.86);
                    assert!(text == "accent" || contrast(colours[text], tint) >= 4.5, "{text} as a badge");
                }
            }
            assert!(contrast(colours["on-accent"], colours["accent"]) >= 4.5);
        }
        assert!(!CSS.contains("placeholder { color: var(--faint); opacity: ."), "an opacity takes contrast away");
    }
}

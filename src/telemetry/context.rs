//! The trace context in `opts.tm`, as in bullmq-otel: what the global propagator injects, as a JSON object.

use std::collections::{BTreeMap, HashMap};

use opentelemetry::propagation::Injector;
use opentelemetry::{Context, global};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Carrier(BTreeMap<String, String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        // `tracestate` is written even if it is empty.
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

pub(super) fn inject(span: &Span) -> Option<String> {
    // A span that is filtered out passes on the trace that it is in.
    let context = if span.is_disabled() { Context::current() } else { span.context() };
    let mut carrier = Carrier(BTreeMap::new());
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
    if carrier.0.is_empty() { None } else { serde_json::to_string(&carrier.0).ok() }
}

/// Makes a span the child of a context; a context that cannot be read is ignored.
pub(super) fn continue_from(span: &Span, metadata: &str) {
    let Ok(carrier) = serde_json::from_str::<HashMap<String, String>>(metadata) else { return };
    let parent =
        global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &carrier));
    // Without a layer of OpenTelemetry the error does not matter.
    let _ = span.set_parent(parent);
}

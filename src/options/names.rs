//! The names of a job's options in JSON; this list is used for writing, reading and checking extra options.

use super::JobOptions;

macro_rules! options {
    (
        named { $($field:ident => $option:ident: $($name:literal)|+;)* }
        nameless { $($nameless:ident),* }
        others { $($other:ident: $($alias:literal)|+;)* }
    ) => {
        /// An option as the JSON of a job names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum OptionName {
            $($option,)*
            $($other,)*
        }

        impl OptionName {
            /// Returns the option with this name, in the spelling of any version or language.
            pub(crate) fn of(name: &str) -> Option<Self> {
                match name {
                    $($($name)|+ => Some(Self::$option),)*
                    $($($alias)|+ => Some(Self::$other),)*
                    _ => None,
                }
            }
        }

        // Destructured, so that an option without a line in the list does not compile.
        const _: fn(&JobOptions) = |options| {
            let JobOptions { $($field: _,)* $($nameless: _),* } = options;
        };
    };
}

options! {
    named {
        attempts => Attempts: "attempts";
        backoff => Backoff: "backoff";
        delay => Delay: "delay";
        priority => Priority: "priority";
        lifo => Lifo: "lifo";
        job_id => JobId: "jobId" | "job_id";
        timestamp => Timestamp: "timestamp";
        remove_on_complete => RemoveOnComplete: "removeOnComplete" | "remove_on_complete";
        remove_on_fail => RemoveOnFail: "removeOnFail" | "remove_on_fail";
        keep_logs => KeepLogs: "kl" | "keepLogs" | "keep_logs";
        size_limit => SizeLimit: "sizeLimit";
        stack_trace_limit => StackTraceLimit: "stackTraceLimit" | "stack_trace_limit";
        deduplication => Deduplication: "de" | "deduplication" | "debounce";
        parent => Parent: "parent";
        on_child_failure => OnChildFailure:
            "fpof" | "failParentOnFailure" | "fail_parent_on_failure"
            | "cpof" | "continueParentOnFailure" | "continue_parent_on_failure"
            | "idof" | "ignoreDependencyOnFailure" | "ignore_dependency_on_failure"
            | "rdof" | "removeDependencyOnFailure" | "remove_dependency_on_failure";
        telemetry_metadata => TelemetryMetadata: "tm";
        omit_context => OmitContext: "omc";
        timeout => Timeout: "timeout";
        start_by => StartBy: "startBy";
        expires_in => ExpiresIn: "expiresIn";
    }
    // The first becomes a delay; the second holds options without a setter.
    nameless { run_at, extra }
    others {
        // Both options of telemetry are in one object.
        Telemetry: "telemetry";
        // Of jobs that a scheduler creates.
        RepeatJobKey: "repeatJobKey" | "repeat_job_key";
    }
}

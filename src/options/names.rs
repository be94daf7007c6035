//! The list of a job's options as JSON names them. Writing, reading and checking extra options all use it.

/// Passes the list of options to a macro. A line has the field, the option, its names, of which the first is the stored one,
/// and how a value is read that Node's interface gives; without the latter it is not taken over to another job.
///
/// Options are stored in this order.
macro_rules! named_options {
    ($macro:ident!) => {
        $macro! {
            attempts => Attempts: "attempts" = small;
            backoff => Backoff: "backoff" = backoff;
            delay => Delay: "delay" = span;
            priority => Priority: "priority" = small;
            lifo => Lifo: "lifo" = flag;
            job_id => JobId: "jobId" | "job_id" = text;
            timestamp => Timestamp: "timestamp";
            remove_on_complete => RemoveOnComplete: "removeOnComplete" | "remove_on_complete" = keep;
            remove_on_fail => RemoveOnFail: "removeOnFail" | "remove_on_fail" = keep;
            keep_logs => KeepLogs: "kl" | "keepLogs" | "keep_logs" = small;
            size_limit => SizeLimit: "sizeLimit" = size;
            stack_trace_limit => StackTraceLimit: "stackTraceLimit" | "stack_trace_limit" = small;
            deduplication => Deduplication: "de" | "deduplication" | "debounce" = deduplication;
            parent => Parent: "parent";
            // Stored under the short name of the policy.
            on_child_failure => OnChildFailure:
                "fpof" | "failParentOnFailure" | "fail_parent_on_failure"
                | "cpof" | "continueParentOnFailure" | "continue_parent_on_failure"
                | "idof" | "ignoreDependencyOnFailure" | "ignore_dependency_on_failure"
                | "rdof" | "removeDependencyOnFailure" | "remove_dependency_on_failure";
            telemetry_metadata => TelemetryMetadata: "tm" = text;
            omit_context => OmitContext: "omc" = flag;
            start_by => StartBy: "startBy" = moment;
            expires_in => ExpiresIn: "expiresIn" = span;
            timeout => Timeout: "timeout" = span;
        }
    };
}
pub(crate) use named_options;

macro_rules! names {
    ($($field:ident => $option:ident: $($name:literal)|+ $(= $read:ident)?;)*) => {
        /// An option as the JSON of a job names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum OptionName {
            $($option,)*
            /// Both options of telemetry in one object.
            Telemetry,
            /// The scheduler that created the job.
            RepeatJobKey,
        }

        impl OptionName {
            /// Returns the option with this name, in the spelling of any version or language.
            pub(crate) fn of(name: &str) -> Option<Self> {
                match name {
                    $($($name)|+ => Some(Self::$option),)*
                    "telemetry" => Some(Self::Telemetry),
                    "repeatJobKey" | "repeat_job_key" => Some(Self::RepeatJobKey),
                    _ => None,
                }
            }
        }
    };
}

named_options!(names!);

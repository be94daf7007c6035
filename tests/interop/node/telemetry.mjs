// bullmq-otel on a provider of our own that hands out ids and remembers the spans, with W3C headers.

import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import * as api from '@opentelemetry/api';
import { BullMQOtel } from 'bullmq-otel';

export const spans = [];

class Recorded {
  constructor(name, kind, parent) {
    const traceId = parent?.traceId ?? randomBytes(16).toString('hex');
    this.shown = { name, kind, traceId, spanId: randomBytes(8).toString('hex'), parent: parent?.spanId ?? null };
    spans.push(this.shown);
  }
  spanContext() {
    return { traceId: this.shown.traceId, spanId: this.shown.spanId, traceFlags: 1 };
  }
  setAttribute() {
    return this;
  }
  setAttributes() {
    return this;
  }
  addEvent() {
    return this;
  }
  setStatus() {
    return this;
  }
  isRecording() {
    return true;
  }
  recordException() {}
  end() {}
}

const tracer = {
  startSpan: (name, options = {}, context = api.context.active()) =>
    new Recorded(name, options.kind ?? 0, api.trace.getSpanContext(context)),
};

const current = new AsyncLocalStorage();
api.context.setGlobalContextManager({
  active: () => current.getStore() ?? api.ROOT_CONTEXT,
  with: (context, run, self, ...args) => current.run(context, () => run.apply(self, args)),
  bind: (context, run) => (typeof run === 'function' ? (...args) => current.run(context, () => run(...args)) : run),
  enable() {
    return this;
  },
  disable() {
    return this;
  },
});
api.propagation.setGlobalPropagator({
  inject(context, carrier, setter) {
    const { traceId, spanId } = api.trace.getSpanContext(context) ?? {};
    if (traceId) {
      setter.set(carrier, 'traceparent', `00-${traceId}-${spanId}-01`);
    }
  },
  extract(context, carrier, getter) {
    const [, traceId, spanId] = /^00-(\w{32})-(\w{16})-\w\w$/.exec(getter.get(carrier, 'traceparent') ?? '') ?? [];
    return traceId
      ? api.trace.setSpanContext(context, { traceId, spanId, traceFlags: 1, isRemote: true })
      : context;
  },
  fields: () => ['traceparent'],
});
api.trace.setGlobalTracerProvider({ getTracer: () => tracer });

export const telemetry = new BullMQOtel('oxmq-interop');

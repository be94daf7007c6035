//! Job queues on Redis, compatible with BullMQ on the wire.

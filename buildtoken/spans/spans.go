// Package spans adds two spans to the traces of triggers: build_token.queue lasts from the
// trigger to the start of the build, build_token.build from there to its end. Both are
// children of the span of the trigger that created the item. The triggers that joined it are
// links.
//
// Spans are made from the record of the item only, so they are the same if the server
// restarts in between, or if another server runs the build. A span is made when it is over,
// so a trigger does not wait for it.
package spans

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The attributes of spans.
const (
	attrJob    = attribute.Key("build_token.job")
	attrItem   = attribute.Key("build_token.item")
	attrNumber = attribute.Key("build_token.number")
	attrNode   = attribute.Key("build_token.node")
	attrResult = attribute.Key("build_token.result")
)

// Recorder records spans. A nil Recorder records nothing. It is safe for concurrent use.
type Recorder struct{ tracer trace.Tracer }

// New returns a Recorder that sends spans to a provider. For the context of builds to name
// their own span, the provider must have the generator [IDs].
func New(p trace.TracerProvider) *Recorder {
	return &Recorder{p.Tracer("github.com/buildtoken/buildtoken")}
}

// Mark adds the job and the item to the span of the trigger, if ctx has one that is recorded.
func Mark(ctx context.Context, full string, item int64) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrJob.String(full), attrItem.Int64(item))
	}
}

// Started records the time of an item in the queue, when its build has started.
func (r *Recorder) Started(ctx context.Context, b queue.Build) {
	r.record(ctx, b.Item, "build_token.queue", b.Item.Since, b.Started, trace.SpanID{}, "", attrNumber.Int64(b.Number))
}

// Cancelled records the time of an item in the queue that was cancelled.
func (r *Recorder) Cancelled(ctx context.Context, it queue.Item, at time.Time) {
	r.record(ctx, it, "build_token.queue", it.Since, at, trace.SpanID{}, "", attrResult.String("CANCELLED"))
}

// Ended records a build that has ended.
func (r *Recorder) Ended(ctx context.Context, b queue.Build) {
	problem := ""
	if b.Result != queue.Success {
		problem = b.Reason
		if problem == "" {
			problem = string(b.Result)
		}
	}
	r.record(ctx, b.Item, "build_token.build", b.Started, b.Ended, buildSpan(b), problem,
		attrNumber.Int64(b.Number), attrNode.String(b.Node), attrResult.String(string(b.Result)))
}

// record makes a span with a known ID, unless that is zero.
func (r *Recorder) record(ctx context.Context, it queue.Item, name string, from, to time.Time, id trace.SpanID, problem string, attrs ...attribute.KeyValue) {
	if r == nil {
		return
	}
	parent := contextOf(it.Trace)
	if !parent.IsSampled() {
		return
	}
	ctx = trace.ContextWithRemoteSpanContext(context.WithValue(ctx, wantedID{}, id), parent)
	attrs = append(attrs, attrJob.String(it.Job), attrItem.Int64(it.ID))
	opts := []trace.SpanStartOption{trace.WithTimestamp(from), trace.WithAttributes(attrs...)}
	for _, joined := range it.Joined {
		if link := contextOf(joined); link.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: link}))
		}
	}
	_, span := r.tracer.Start(ctx, name, opts...)
	if problem != "" {
		span.SetStatus(codes.Error, problem)
	}
	if to.Before(from) { // the clock was set back, or is that of another server
		to = from
	}
	span.End(trace.WithTimestamp(to))
}

// Context returns the trace context for a build, in which the parent is the span of the build
// itself: that of the item if nothing is recorded.
func (r *Recorder) Context(b queue.Build) string {
	parent := contextOf(b.Item.Trace)
	if r == nil || !parent.IsSampled() {
		return b.Item.Trace
	}
	return fmt.Sprintf("00-%s-%s-%s", parent.TraceID(), buildSpan(b), parent.TraceFlags())
}

// buildSpan returns the ID of a build's span. It is known before the span is made, and the
// same on every server.
func buildSpan(b queue.Build) (id trace.SpanID) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", b.Item.Trace, b.Item.ID, b.Number, b.Item.Job))
	copy(id[:], sum[:])
	return id
}

// contextOf reads a trace context as in the header traceparent, version 00. One that is
// malformed is not valid.
func contextOf(text string) trace.SpanContext {
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[3]) != 2 {
		return trace.SpanContext{}
	}
	traceID, err := trace.TraceIDFromHex(parts[1])
	if err != nil {
		return trace.SpanContext{}
	}
	span, err := trace.SpanIDFromHex(parts[2])
	if err != nil {
		return trace.SpanContext{}
	}
	flags, err := strconv.ParseUint(parts[3], 16, 8)
	if err != nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: span, TraceFlags: trace.TraceFlags(flags), Remote: true})
}

type wantedID struct{}

// IDs generates random IDs, but for the spans of builds, whose IDs are known before. It is the
// IDGenerator of OpenTelemetry's SDK.
type IDs struct{}

// NewIDs returns the IDs of a new trace and of its first span.
func (g IDs) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	for !t.IsValid() {
		binary.NativeEndian.PutUint64(t[:], rand.Uint64())  //nolint:gosec // not secret
		binary.NativeEndian.PutUint64(t[8:], rand.Uint64()) //nolint:gosec // not secret
	}
	return t, g.NewSpanID(ctx, t)
}

// NewSpanID returns the ID of a span.
func (IDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	id, _ := ctx.Value(wantedID{}).(trace.SpanID)
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // not secret
	}
	return id
}

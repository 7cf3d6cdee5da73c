package spans_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/spans"
)

const (
	traced   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	joined   = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
	unwanted = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func newRecorder(t *testing.T) (*spans.Recorder, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithIDGenerator(spans.IDs{}))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return spans.New(provider), exporter
}

func build(trace string) queue.Build {
	since := time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC)
	return queue.Build{
		Item:   queue.Item{ID: 7, Job: "site/deploy", Since: since, Trace: trace, Joined: []string{joined, "nonsense"}},
		Number: 3, Node: "built-in", Started: since.Add(5 * time.Second), Ended: since.Add(9 * time.Second), Result: queue.Failure, Reason: "exit status 1",
	}
}

func TestSpansOfABuild(t *testing.T) {
	r, exporter := newRecorder(t)
	b := build(traced)
	r.Started(t.Context(), b)
	r.Ended(t.Context(), b)
	all := exporter.GetSpans()
	if len(all) != 2 || all[0].Name != "build_token.queue" || all[1].Name != "build_token.build" {
		t.Fatalf("spans = %v", all)
	}
	for i, s := range all {
		if got := s.Parent.SpanID().String(); got != "b7ad6b7169203331" || s.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || !s.Parent.IsRemote() {
			t.Errorf("%s: trace %s, parent %s", s.Name, s.SpanContext.TraceID(), got)
		}
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID().String() != "c7ad6b7169203331" || !s.Links[0].SpanContext.IsRemote() {
			t.Errorf("%s: links %v, want the trigger that joined", s.Name, s.Links)
		}
		from, to := []time.Time{b.Item.Since, b.Started}, []time.Time{b.Started, b.Ended}
		if !s.StartTime.Equal(from[i]) || !s.EndTime.Equal(to[i]) {
			t.Errorf("%s: from %v to %v", s.Name, s.StartTime, s.EndTime)
		}
		got := map[string]string{}
		for _, a := range s.Attributes {
			got[string(a.Key)] = a.Value.String()
		}
		want := map[string]string{"build_token.job": "site/deploy", "build_token.item": "7", "build_token.number": "3"}
		if i == 1 {
			want["build_token.node"], want["build_token.result"] = "built-in", "FAILURE"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: attributes (-want +got):\n%s", s.Name, diff)
		}
	}
	if s := all[1].Status; s.Code != codes.Error || s.Description != "exit status 1" {
		t.Errorf("status = %v", s)
	}
	// The ID of a build's span is known before the span is made, and is the same on another
	// server.
	other, _ := newRecorder(t)
	want := "00-0af7651916cd43dd8448eb211c80319c-" + all[1].SpanContext.SpanID().String() + "-01"
	if got := other.Context(b); got != want {
		t.Errorf("Context = %s, want %s", got, want)
	}
	if again := build(traced); again.Number == 3 {
		again.Number = 4
		if other.Context(again) == want {
			t.Error("two builds have one span")
		}
	}
}

func TestStatusOfABuildWithoutAReason(t *testing.T) {
	r, exporter := newRecorder(t)
	b := build(traced)
	b.Reason = ""
	r.Ended(t.Context(), b)
	b.Result = queue.Success
	r.Ended(t.Context(), b)
	for i, want := range []sdktrace.Status{{Code: codes.Error, Description: "FAILURE"}, {Code: codes.Unset}} {
		if got := exporter.GetSpans()[i].Status; got != want {
			t.Errorf("status = %v, want %v", got, want)
		}
	}
}

func TestMarkAddsTheItemToTheSpanOfTheTrigger(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	ctx, span := provider.Tracer("server").Start(t.Context(), "POST /job/deploy/build")
	spans.Mark(ctx, "site/deploy", 7)
	span.End()
	spans.Mark(t.Context(), "site/deploy", 7) // without a span
	got := map[string]string{}
	for _, a := range exporter.GetSpans()[0].Attributes {
		got[string(a.Key)] = a.Value.String()
	}
	if diff := cmp.Diff(map[string]string{"build_token.job": "site/deploy", "build_token.item": "7"}, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestNothingIsRecordedWithoutASampledTrace(t *testing.T) {
	r, exporter := newRecorder(t)
	const ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for _, text := range []string{
		"", unwanted, "nonsense", "00", "00-" + ids, "00-" + ids + "-01-01", "01-" + ids + "-01", "00-" + ids + "-1", "00-" + ids + "-001", "00-" + ids + "-0g",
		"00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
	} {
		b := build(text)
		r.Started(t.Context(), b)
		r.Ended(t.Context(), b)
		r.Cancelled(t.Context(), b.Item, b.Started)
		if got := r.Context(b); got != text {
			t.Errorf("Context = %q, want %q as it came", got, text)
		}
	}
	var off *spans.Recorder
	off.Started(t.Context(), build(traced))
	off.Ended(t.Context(), build(traced))
	off.Cancelled(t.Context(), build(traced).Item, time.Now())
	if got := off.Context(build(traced)); got != traced {
		t.Errorf("Context = %q, want that of the trigger", got)
	}
	if all := exporter.GetSpans(); len(all) != 0 {
		t.Errorf("spans = %v", all)
	}
}

// All eight flags of a trace reach the build.
func TestFlagsOfATrace(t *testing.T) {
	r, _ := newRecorder(t)
	flags := strings.TrimSuffix(traced, "01") + "ff"
	if got := r.Context(build(flags)); !strings.HasSuffix(got, "-ff") || got == flags {
		t.Errorf("Context = %s, want another span with the flags ff", got)
	}
}

func TestCancelledItemAndBackwardClock(t *testing.T) {
	r, exporter := newRecorder(t)
	b := build(traced)
	r.Cancelled(t.Context(), b.Item, b.Item.Since.Add(-time.Hour))
	s := exporter.GetSpans()[0]
	if s.Name != "build_token.queue" || s.EndTime.Before(s.StartTime) {
		t.Errorf("span = %v", s)
	}
}

func TestIDsAreValidAndDiffer(t *testing.T) {
	seen := map[trace.SpanID]bool{}
	var or trace.TraceID // of all
	for range 1000 {
		traceID, span := spans.IDs{}.NewIDs(t.Context())
		if !traceID.IsValid() || !span.IsValid() || seen[span] {
			t.Fatalf("IDs = %v, %v", traceID, span)
		}
		seen[span] = true
		for i := range or {
			or[i] |= traceID[i]
		}
	}
	if got := or.String(); got != strings.Repeat("ff", 16) {
		t.Errorf("bits that some trace has: %s, want all", got)
	}
}

package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/spans"
)

const traceOfClient = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// Each way in which an item or a build ends adds its span to the trace of the trigger.
func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithIDGenerator(spans.IDs{}))
		traced := func(t *buildtoken.Trigger) { t.Trace = traceOfClient }
		var parent string
		quick := runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
			for _, v := range b.Env {
				if text, ok := strings.CutPrefix(v, "TRACEPARENT="); ok {
					parent = text
				}
			}
			return runner.Result{Outcome: runner.Failure, Reason: "exit status 1"}
		})
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
			{Name: "quick", Tokens: opens(), Runner: quick}, {Name: "long", Tokens: opens(), Runner: lasts(time.Hour)},
		}}}
		s := openSite(t, buildtoken.Config{Spans: spans.New(provider)})
		s.attach(spec)
		gone := &others{lost: func(func(queue.Build) bool) ([]queue.Build, error) {
			return []queue.Build{{
				Item:   queue.Item{ID: 70, Job: "far", Since: start(), Trace: traceOfClient},
				Number: 7, Node: "b", Started: start(), Ended: start().Add(time.Minute), Result: queue.Aborted, Reason: "lost",
			}}, nil
		}}
		want := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, span := range exporter.GetSpans() {
				line := fmt.Sprintf("%s %v", strings.TrimPrefix(span.Name, "build_token."), span.EndTime.Sub(span.StartTime))
				for _, a := range span.Attributes {
					line += fmt.Sprintf(" %s", a.Value.String())
				}
				if id := span.Parent.SpanID().String(); id != "00f067aa0ba902b7" {
					t.Errorf("%s: parent %s", what, id)
				}
				got = append(got, line)
			}
			exporter.Reset()
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: spans (-want +got):\n%s", what, diff)
			}
		}

		s.trigger("quick", delayed("10s"), traced)
		want("queued")
		time.Sleep(time.Minute)
		synctest.Wait()
		all := exporter.GetSpans()
		want("built", "build 0s 1 built-in FAILURE quick 1", "queue 10s 1 quick 1")
		if build := all[len(all)-1]; parent != "00-4bf92f3577b34da6a3ce929d0e0e4736-"+build.SpanContext.SpanID().String()+"-01" {
			t.Errorf("the build ran in the context %q, want that of its span %s", parent, build.SpanContext.SpanID())
		}

		id := s.trigger("long", delayed("10s"), traced).Item.ID
		time.Sleep(4 * time.Second)
		if err := s.Cancel(t.Context(), "long", id, "user alice"); err != nil {
			t.Fatal(err)
		}
		want("cancelled", "queue 4s CANCELLED long 2")

		s.trigger("long")
		want("without a trace")
		s.trigger("long", traced, delayed("2h"))
		time.Sleep(2 * time.Hour)
		want("started", "queue 2h0m0s 2 long 4")
		s.crash()
		time.Sleep(time.Minute)
		s.attach(spec)
		want("lost by the previous process", "build 1m0s 2 built-in ABORTED long 4")

		s.reopenAmongOthers(gone)
		s.attach(spec)
		gone.notices <- queue.Notice{Lost: true}
		want("lost by another server", "build 1m0s 7 b ABORTED far 70")
	})
}

// The span of an accepted trigger has its job and item.
func TestSpanOfATriggerNamesItsItem(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
	ctx, span := provider.Tracer("").Start(t.Context(), "request")
	_, err := s.Trigger(ctx, s.def, ask("app", delayed("1h")))
	_, other := s.Trigger(ctx, s.def, ask("nowhere"))
	span.End()
	if err != nil || !errors.Is(other, definition.ErrUnknownJob) {
		t.Fatal(err, other)
	}
	got := map[string]string{}
	for _, a := range exporter.GetSpans()[0].Attributes {
		got[string(a.Key)] = a.Value.String()
	}
	if diff := cmp.Diff(map[string]string{"build_token.job": "app", "build_token.item": "1"}, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

package caddymodule_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/tracing"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spanCollector receives spans over OTLP, as a collector does.
type spanCollector struct {
	*httptest.Server

	// mu guards the following.
	mu    sync.Mutex
	spans []*otlp.Span
}

func newCollector(t *testing.T) *spanCollector {
	t.Helper()
	r := &spanCollector{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || q.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", q.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	return r
}

// named returns the spans of a name, in the order of their arrival.
func (r *spanCollector) named(name string) []*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*otlp.Span
	for _, s := range r.spans {
		if s.GetName() == name {
			all = append(all, s)
		}
	}
	return all
}

func attributeOf(s *otlp.Span, name string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// The spans of a trigger, of its time in the queue and of its build form one trace, although
// Caddy is restarted before the build.
func TestSpansOverOTLP(t *testing.T) {
	r := newCollector(t)
	s := newSite(t)
	body := func(quiet string) string {
		return s.caddyfile("", "tracing {\n span trigger\n }\n build_token {\n quiet_period "+quiet+`
	job traced {
		token SECRET {
			grant trigger log
		}
		run sh -c "echo TRACEPARENT=$TRACEPARENT; exit 3"
	}
}
`)
	}
	s.load(body("1h"))
	item := s.trigger("traced", "SECRET")
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if a := s.get("/buildByToken/build?job=traced&token=SECRET", "Traceparent", client); a.status != http.StatusSeeOther {
		t.Fatalf("the second trigger: %d %s", a.status, a.body)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.load(body("0"))
	if a := s.get("/buildByToken/build?job=traced&token=SECRET"); a.status != http.StatusSeeOther { // due at once
		t.Fatalf("the third trigger: %d %s", a.status, a.body)
	}
	log := s.follow("traced", "SECRET", item)
	if err := caddy.Stop(); err != nil { // sends the last spans
		t.Fatal(err)
	}
	triggers, queued, built := r.named("trigger"), r.named("build_token.queue"), r.named("build_token.build")
	if len(triggers) != 4 || len(queued) != 1 || len(built) != 1 {
		t.Fatalf("spans: %d of requests, %d of the queue, %d of builds; want 4, 1, 1", len(triggers), len(queued), len(built))
	}
	first := triggers[0]
	for _, child := range []*otlp.Span{queued[0], built[0]} {
		if string(child.GetTraceId()) != string(first.GetTraceId()) || string(child.GetParentSpanId()) != string(first.GetSpanId()) {
			t.Errorf("%s is not below the span of the trigger", child.GetName())
		}
		if attributeOf(child, "build_token.job") != "traced" {
			t.Errorf("%s: attributes %v", child.GetName(), child.GetAttributes())
		}
		links := child.GetLinks()
		if len(links) != 2 || hex.EncodeToString(links[0].GetTraceId()) != "0af7651916cd43dd8448eb211c80319c" || string(links[0].GetSpanId()) != string(triggers[1].GetSpanId()) ||
			string(links[1].GetSpanId()) != string(triggers[2].GetSpanId()) {
			t.Errorf("%s: links %v, want the two triggers that joined", child.GetName(), links)
		}
	}
	if got := attributeOf(built[0], "build_token.result"); got != "FAILURE" || built[0].GetStatus().GetCode() != otlp.Status_STATUS_CODE_ERROR {
		t.Errorf("result %s, status %v", got, built[0].GetStatus())
	}
	if attributeOf(first, "build_token.job") != "traced" {
		t.Errorf("the span of the trigger does not name the job: %v", first.GetAttributes())
	}
	want := "TRACEPARENT=00-" + hex.EncodeToString(first.GetTraceId()) + "-" + hex.EncodeToString(built[0].GetSpanId()) + "-01"
	if !strings.Contains(log, want) {
		t.Errorf("log of the build: %q, want %s", log, want)
	}
}

// The spans of builds are sent too if the tracing is in a named route.
func TestSpansOfANamedRoute(t *testing.T) {
	r := newCollector(t)
	s := newSite(t)
	s.load(strings.Replace(s.caddyfile("", "route {\n invoke traced\n"+jobs(named("SECRET"))+"}\n"), "http://", "&(traced) {\n tracing {\n span trigger\n}\n}\nhttp://", 1))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	if err := caddy.Stop(); err != nil { // sends the last spans
		t.Fatal(err)
	}
	if queued, built := r.named("build_token.queue"), r.named("build_token.build"); len(queued) != 1 || len(built) != 1 {
		t.Errorf("spans: %d of the queue, %d of builds; want one each", len(queued), len(built))
	}
	for _, line := range s.logged("build_token") {
		if line["level"] == "error" || line["level"] == "warn" {
			t.Errorf("logged %v", line)
		}
	}
}

// Without Caddy's tracing, the trace of a client is passed to the build unchanged, and no spans
// are sent.
func TestNoSpansWithoutTracing(t *testing.T) {
	r := newCollector(t)
	s := newSite(t)
	s.load(s.caddyfile("", jobs("job plain {\n token SECRET {\n grant trigger log\n }\n run sh -c `echo TRACEPARENT=$TRACEPARENT`\n }")))
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := s.get("/buildByToken/build?job=plain&token=SECRET", "Traceparent", client)
	if a.status != http.StatusCreated {
		t.Fatal(a.status, a.body)
	}
	if log := s.follow("plain", "SECRET", "1"); !strings.Contains(log, "TRACEPARENT="+client) {
		t.Errorf("log of the build: %q", log)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if r.mu.Lock(); len(r.spans) != 0 {
		t.Errorf("%d spans were sent", len(r.spans))
	}
	r.mu.Unlock()
}

// Without any site there is nothing to trace, so settings for tracing are not read.
func TestNoTracingWithoutASite(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "none that there is")
	s := newSite(t)
	option, _, _ := strings.Cut(s.caddyfile("", ""), "\nhttp://")
	s.load(option)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, line := range s.logged("build_token") {
		if line["level"] == "error" || line["level"] == "warn" {
			t.Errorf("logged %v", line)
		}
	}
}

// A server without a receiver of spans works, and says so.
func TestSpansThatCannotBeSent(t *testing.T) {
	newCollector(t)
	s := newSite(t)
	text, err := adapt(s.caddyfile("", "tracing\n"+jobs(named("SECRET"))))
	if err != nil {
		t.Fatal(err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(text, config); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := ctx.App("http")
	site, ok := mod.(*caddyhttp.App)
	if err != nil || !ok {
		t.Fatalf("the app is a %T, %v", mod, err)
	}
	defer func() {
		for _, srv := range site.Servers {
			cleanUp(t, srv.Routes)
		}
	}()
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "none that there is") // after Caddy has made its own exporter
	app := appOf(t, ctx)
	if err := errors.Join(app.Start(), app.Stop(), app.Cleanup()); err != nil {
		t.Error(err)
	}
	failed := 0
	for _, line := range s.logged("build_token") {
		if line["msg"] == "spans of builds cannot be sent" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("logged %d times that spans cannot be sent, want once", failed)
	}
}

// cleanUp releases the exporter that Caddy's handler shares with later configurations.
func cleanUp(t *testing.T, routes caddyhttp.RouteList) {
	t.Helper()
	for i := range routes {
		for _, handler := range routes[i].Handlers {
			if sub, ok := handler.(*caddyhttp.Subroute); ok {
				cleanUp(t, sub.Routes)
			}
			if traced, ok := handler.(*tracing.Tracing); ok {
				if err := traced.Cleanup(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

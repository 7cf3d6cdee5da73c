package pages_test

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// run is a runner made of a function.
type run func(ctx context.Context, b runner.Build, log io.Writer) runner.Result

func (r run) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return r(ctx, b, log)
}

// writes returns a runner whose builds write a text and succeed.
func writes(text string) run {
	return func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
		_, _ = io.WriteString(log, text)
		return runner.Result{Outcome: runner.Success}
	}
}

// fails returns a runner whose builds end with this outcome.
func fails(outcome runner.Outcome, reason string) run {
	return func(context.Context, runner.Build, io.Writer) runner.Result {
		return runner.Result{Outcome: outcome, Reason: reason}
	}
}

// hangs returns a runner whose builds write a text and run until they are stopped.
func hangs(text string) run {
	return func(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
		_, _ = io.WriteString(log, text)
		<-ctx.Done()
		return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
	}
}

// at returns a job without a quiet period.
func at(name string, r runner.Runner, params ...job.Param) definition.Job {
	none := time.Duration(0)
	return definition.Job{Name: name, Runner: r, Settings: job.Settings{QuietPeriod: &none}, Params: params}
}

// jobs returns a site with these jobs. alice has all rights on it, rita can read, and other
// users have no rights.
func jobs(all ...definition.Job) definition.Spec {
	return definition.Spec{
		Root:   definition.Folder{Jobs: all},
		Access: definition.Access{Read: `user in ["alice", "rita"]`, Build: `user in ["alice", "blind"]`, Cancel: `user == "alice"`},
	}
}

const root = "https://ci.example.com/ci/"

// site is a controller and its pages, in a synctest bubble.
type site struct {
	*testing.T
	dir   string
	ctl   *buildtoken.Controller
	def   *definition.Site
	pages *served
	logs  *observer.ObservedLogs
}

// onSite runs a test in a bubble.
func onSite(t *testing.T, spec definition.Spec, test func(*site)) {
	t.Helper()
	onQueue(t, spec, func(q buildtoken.Queue) buildtoken.Queue { return q }, test)
}

// onQueue runs a test in a bubble, with a wrapper around the queue of the site.
func onQueue(t *testing.T, spec definition.Spec, around func(buildtoken.Queue) buildtoken.Queue, test func(*site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: around(q), Dir: dir, SealKey: vault.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ctl.Close(); err != nil {
				t.Error(err)
			}
		})
		def, err := definition.Compile(spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ctl.Attach(t.Context(), buildtoken.Config{
			Sites: []*definition.Site{def}, Executors: 3, ShutdownTimeout: -1,
		}); err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zapcore.WarnLevel)
		test(&site{T: t, dir: dir, ctl: ctl, def: def, pages: pagesOf(ctl, def, zap.New(core)), logs: logs})
	})
}

// pagesOf returns the pages of a site that trusts every user name.
func pagesOf(ctl *buildtoken.Controller, def *definition.Site, log *zap.Logger) *served {
	return &served{ctl: ctl, site: &web.Site{
		Open: func() (*buildtoken.Controller, error) { return ctl, nil }, Definition: def,
		Root: func(*http.Request) string { return root },
		User: func(r *http.Request) string {
			user, _, _ := r.BasicAuth()
			return user
		},
		Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		Log:    log,
	}}
}

// served serves the pages of a site.
type served struct {
	ctl   *buildtoken.Controller
	site  *web.Site
	pages pages.Pages
}

func (s *served) Serve(w http.ResponseWriter, r *http.Request) bool {
	return s.pages.Serve(s.site.Request(w, r))
}

// trigger starts a build as alice and waits for a second.
func (s *site) trigger(full string, values map[string][]string) int64 {
	s.Helper()
	cause := "push"
	out, err := s.ctl.Trigger(s.Context(), s.def, buildtoken.Trigger{
		Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.BuildWithParameters, Job: full,
		AnyKind: true, UserMayTrigger: true, Values: values, Cause: &cause, Root: root,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.settle()
	return out.Item.ID
}

// settle waits for a second.
func (s *site) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// request returns a request as a browser sends it.
func request(method, path, user string, form url.Values) *http.Request {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, "http://inside:8080"+path, body)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	if user != "" {
		r.SetBasicAuth(user, "secret")
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// do serves a request, which must be for pages.
func (s *site) do(r *http.Request) *httptest.ResponseRecorder {
	s.Helper()
	w := httptest.NewRecorder()
	if !s.pages.Serve(w, r) {
		s.Fatalf("%s %s was not served", r.Method, r.URL)
	}
	return w
}

func (s *site) get(path, user string) *httptest.ResponseRecorder {
	s.Helper()
	return s.do(request(http.MethodGet, path, user, nil))
}

// page returns a page, which alice must be able to read.
func (s *site) page(path string) string {
	s.Helper()
	w := s.get(path, "alice")
	if w.Code != http.StatusOK {
		s.Fatalf("GET %s = %d\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func (s *site) post(path, user string, form url.Values) *httptest.ResponseRecorder {
	s.Helper()
	return s.do(request(http.MethodPost, path, user, form))
}

// file is a file of a form.
type file struct{ field, name, content string }

// upload sends the form of the job up, as alice, with values and files.
func (s *site) upload(values map[string]string, files ...file) *httptest.ResponseRecorder {
	s.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for name, value := range values {
		if err := m.WriteField(name, value); err != nil {
			s.Fatal(err)
		}
	}
	for _, f := range files {
		part, err := m.CreateFormFile(f.field, f.name)
		if err != nil {
			s.Fatal(err)
		}
		_, _ = io.WriteString(part, f.content)
	}
	if err := m.Close(); err != nil {
		s.Fatal(err)
	}
	r := request(http.MethodPost, "/job/up/buildForm", "alice", nil)
	r.Body, r.ContentLength = io.NopCloser(&b), int64(b.Len())
	r.Header.Set("Content-Type", m.FormDataContentType())
	return s.do(r)
}

// holds reports the texts that a text does not contain.
func (s *site) holds(text string, wanted ...string) {
	s.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			s.Errorf("%q is missing in\n%s", want, main(text))
		}
	}
}

func (s *site) lacks(text string, unwanted ...string) {
	s.Helper()
	for _, bad := range unwanted {
		if strings.Contains(text, bad) {
			s.Errorf("%q is in\n%s", bad, main(text))
		}
	}
}

// main returns the part of a page that is not frame.
func main(page string) string {
	if _, after, ok := strings.Cut(page, "<main"); ok {
		inside, _, _ := strings.Cut(after, "</main>")
		return "<main" + inside
	}
	return page
}

// streamed is a response that can be read while it is being written.
type streamed struct {
	header http.Header

	// mu guards the following.
	mu     sync.Mutex
	status int
	body   bytes.Buffer
}

func (s *streamed) Header() http.Header { return s.header }
func (s *streamed) Flush()              {}

func (s *streamed) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *streamed) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body.Write(p)
}

// drain returns what was written since the last call.
func (s *streamed) drain() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.body.String()
	s.body.Reset()
	return text
}

// open starts a stream. The returned function ends it and waits for it.
func (s *site) open(path, user string, header ...string) (out *streamed, ended <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	r := request(http.MethodGet, path, user, nil).WithContext(ctx)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	out = &streamed{header: http.Header{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pages.Serve(out, r)
	}()
	synctest.Wait()
	return out, done, func() {
		cancel()
		<-done
	}
}

package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/jenkins"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

// root is the address of the scenarios' site.
const root = "http://ci.example.com/"

// api is a site with the handlers of triggers and of Jenkins' remote API.
type api struct{ *web.Site }

func (a api) Serve(w http.ResponseWriter, r *http.Request) bool {
	q := a.Request(w, r)
	return triggers.Serve(q) || jenkins.Serve(q)
}

// scenario is a site with a controller, in a bubble of fake time that begins at
// 2000-01-01T00:00:00Z.
type scenario struct {
	t      testing.TB
	api    api
	ctl    *buildtoken.Controller
	queue  *faultyQueue
	runner *puppets
	looker looker
	dir    string
	detach func()
	out    strings.Builder
	// inFlight is what the requests hold. In the end it must be nothing.
	inFlight web.InFlight

	// The following apply to the next requests.
	user   string
	remote netip.Addr
	// The following apply only to the next request.
	repeat  int
	filler  int
	chunked bool

	open *exchange // a stream that has not ended
	sent []*exchange
	done chan struct{}
}

func spec(r runner.Runner, p runner.Poller) definition.Spec {
	duration := func(d time.Duration) *time.Duration { return &d }
	secret := func(name, text string, grants token.Grant) definition.Token {
		return definition.Token{Name: name, Digest: token.NewSecret(text).Digest(), Grants: grants}
	}
	taco := []definition.Token{secret("", "TacoTuesday", 0)}
	day := job.Settings{QuietPeriod: duration(24 * time.Hour)}
	return definition.Spec{
		Access: definition.Access{
			Build:  `user in ["builder", "foreman"] || request.remote_ip == "10.0.0.77"`,
			Cancel: `user == "foreman" || request.remote_ip == "10.0.0.77"`,
			Read:   `user != "" && !job.full_name.startsWith("secret")`,
		},
		Root: definition.Folder{
			Jobs: []definition.Job{
				{Name: "plain", Description: "says hello", Runner: r, Tokens: append(taco,
					secret("old", "LastYear", 0), secret("viewer", "LookAtMe", token.Status|token.Log|token.Cancel), secret("sharer", "ShareIt", token.Trigger|token.Share)), Settings: job.Settings{}},
				{Name: "slow", Runner: r, Tokens: taco, Settings: day},
				{Name: "params", Runner: r, Tokens: taco, Settings: day, Params: []job.Param{
					{Name: "A", Kind: job.KindString, Default: "one", Description: "the first"},
					{Name: "LINES", Kind: job.KindText},
					{Name: "FLAG", Kind: job.KindBoolean, Default: "true"},
					{Name: "COLOR", Kind: job.KindChoice, Choices: []string{"red", "green"}},
					{Name: "PW", Kind: job.KindPassword, Default: "default-password"},
				}},
				{Name: "upload", Runner: r, Tokens: taco, Settings: day, Params: []job.Param{
					{Name: "PATCH", Kind: job.KindFile}, {Name: "A", Kind: job.KindString},
				}},
				{Name: "off", Runner: r, Tokens: taco, Disabled: true},
				{Name: "ruled", Runner: r, Tokens: taco, Settings: day, Allow: rulesOf(
					`cause == "please"`, `!("token" in params)`,
					`!request.headers.exists(h, h in ["authorization", "proxy-authorization", "cookie", "x-build-token", "x-gitlab-token"])`,
					`request.headers["user-agent"] == request.user_agent && request.remote_ip == "10.0.0.9" && request.path.startsWith("/buildByToken/")`,
				)},
				{Name: "failing rule", Runner: r, Tokens: taco, Allow: rulesOf(`params["NOPE"] == "secret-rule-text"`)},
				{Name: "notoken", Runner: r, Settings: day},
				{Name: "polled", Runner: r, Tokens: taco, Poller: p},
				{Name: "secret", Runner: r, Tokens: []definition.Token{secret("", "Hush", token.Trigger|token.Status|token.Log|token.Cancel)}},
			},
			Folders: []definition.Folder{{
				Name: "app", Tokens: []definition.Token{secret("folder", "AppToken", 0)},
				Jobs: []definition.Job{{Name: "deploy", Runner: r, Concurrent: true}, {Name: "tëst job", Runner: r, Settings: day}},
			}},
		},
	}
}

// bubble runs f with a scenario in fake time.
func bubble(t *testing.T, f func(*scenario)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, dir, 0, throttle.Limit{})
		f(s)
		s.close()
	})
}

func newScenario(tb testing.TB, dir string, limit int, throttle throttle.Limit) *scenario {
	tb.Helper()
	return openScenario(tb, dir, limit, throttle, vault.Key{})
}

// newScenarioWithKey is newScenario with a different seal key.
func newScenarioWithKey(tb testing.TB, dir string, key vault.Key) *scenario {
	tb.Helper()
	return openScenario(tb, dir, 0, throttle.Limit{}, key)
}

func openScenario(tb testing.TB, dir string, limit int, throttle throttle.Limit, key vault.Key) *scenario {
	tb.Helper()
	puppets := &puppets{running: map[string]*puppet{}}
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		tb.Fatal(err)
	}
	s := &scenario{t: tb, dir: dir, runner: puppets, queue: &faultyQueue{Queue: db}, done: make(chan struct{}), remote: netip.MustParseAddr("10.0.0.9")}
	s.ctl, err = buildtoken.Open(tb.Context(), buildtoken.Options{Queue: s.queue, Dir: dir, SealKey: key})
	if err != nil {
		tb.Fatal(err)
	}
	d := s.define("")
	s.attach(buildtoken.Config{Sites: []*definition.Site{d}, QueueLimit: limit, WrongTokens: throttle})
	s.api = api{&web.Site{
		Open:       func() (*buildtoken.Controller, error) { return s.ctl, nil },
		Definition: d,
		Root:       func(*http.Request) string { return root },
		Remote:     func(*http.Request) netip.Addr { return s.remote },
		User:       func(*http.Request) string { return s.user },
		Log:        zap.NewNop(),
		Done:       s.done,
		InFlight:   &s.inFlight,
	}}
	return s
}

// define compiles the site, with a different rule for reading unless that is empty.
func (s *scenario) define(read string) *definition.Site {
	s.t.Helper()
	sp := spec(s.runner, &s.looker)
	sp.Root.Jobs[0].Tokens[1].Expires = time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	if read != "" {
		sp.Access = definition.Access{Read: read, Cancel: "true"}
	}
	d, err := definition.Compile(sp)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *scenario) attach(cfg buildtoken.Config) {
	s.t.Helper()
	detach, err := s.ctl.Attach(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.detach = detach
}

func (s *scenario) close() {
	s.t.Helper()
	if s.open != nil {
		s.open.cancel()
		<-s.open.ended
	}
	s.runner.finishAll()
	if err := s.ctl.Close(); err != nil {
		s.t.Error(err)
	}
	for _, x := range s.sent {
		x.cancel()
		<-x.ended
	}
	if held := s.inFlight.Used(); held != 0 {
		s.t.Errorf("in the end, requests hold %d of what they share", held)
	}
}

// faultyQueue is a queue whose disk can be full.
type faultyQueue struct {
	buildtoken.Queue
	diskFull     atomic.Bool
	broken       atomic.Bool
	unreadable   atomic.Bool
	unrecordable atomic.Bool
	unabortable  atomic.Bool
	// noBuilds, noLanes, noItems and noSummaries make one kind unreadable alone.
	noBuilds, noLanes, noItems, noSummaries atomic.Bool
	// setBack is what has become of each item, as if the queue had been set back to an earlier time.
	setBack atomic.Pointer[func(queue.Entry) (queue.Entry, error)]
	// pretended is how many builds each job seems to have, if it is not 0.
	pretended atomic.Int64
	// late is how long a cancellation takes to arrive.
	late atomic.Int64
	// more is added to the number of queued items of each job that has any.
	more atomic.Int64
	// most is the largest number of items that was read at once.
	most atomic.Int64
	// history is how many builds were read in lists, single how many were read alone, summaries how often
	// summaries were read, and summarized of how many jobs.
	history, single, summaries, summarized atomic.Int64
}

func (q *faultyQueue) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	if q.unreadable.Load() || q.noLanes.Load() {
		return nil, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	return q.Queue.Lanes(ctx, jobs)
}

func (q *faultyQueue) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	if q.unreadable.Load() {
		return nil, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	lanes, err := q.Queue.AllLanes(ctx)
	for i := range lanes {
		if lanes[i].Queued > 0 {
			lanes[i].Queued += int(q.more.Load())
		}
	}
	return lanes, err
}

func (q *faultyQueue) Items(ctx context.Context, now time.Time, full string, limit int) ([]queue.Entry, error) {
	if q.unreadable.Load() || q.noItems.Load() {
		return nil, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	q.most.Store(max(q.most.Load(), int64(limit)))
	return q.Queue.Items(ctx, now, full, limit)
}

func (q *faultyQueue) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	if q.unreadable.Load() {
		return queue.Entry{}, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	e, err := q.Queue.Entry(ctx, now, id)
	if f := q.setBack.Load(); f != nil {
		return (*f)(e)
	}
	return e, err
}

func (q *faultyQueue) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	if q.unreadable.Load() || q.noSummaries.Load() {
		return nil, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	q.summaries.Add(1)
	q.summarized.Add(int64(len(jobs)))
	return q.Queue.Overviews(ctx, jobs)
}

func (q *faultyQueue) Build(ctx context.Context, full string, number int64) (queue.Build, error) {
	if q.noBuilds.Load() {
		return queue.Build{}, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	q.single.Add(1)
	return q.Queue.Build(ctx, full, number)
}

func (q *faultyQueue) Builds(ctx context.Context, full string, before int64, limit int) ([]queue.Build, error) {
	if q.unreadable.Load() || q.noBuilds.Load() {
		return nil, fmt.Errorf("%w: input/output error", queue.ErrStorage)
	}
	if n := q.pretended.Load(); n > 0 {
		builds := make([]queue.Build, min(n, int64(limit)))
		for i := range builds {
			builds[i] = queue.Build{Number: n - int64(i), Item: queue.Item{Job: full}, Result: queue.Success}
		}
		return builds, nil
	}
	builds, err := q.Queue.Builds(ctx, full, before, limit)
	q.history.Add(int64(len(builds)))
	return builds, err
}

func (q *faultyQueue) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	switch {
	case q.diskFull.Load():
		return queue.Item{}, false, fmt.Errorf("%w: no space left on device", queue.ErrStorage)
	case q.broken.Load():
		return queue.Item{}, false, errors.New("the reason that clients must not see")
	}
	return q.Queue.Schedule(ctx, now, r)
}

func (q *faultyQueue) Cancel(ctx context.Context, now time.Time, full string, id int64, by string) error {
	time.Sleep(time.Duration(q.late.Load()))
	if q.diskFull.Load() {
		return fmt.Errorf("%w: no space left on device", queue.ErrStorage)
	}
	return q.Queue.Cancel(ctx, now, full, id, by)
}

func (q *faultyQueue) Abort(ctx context.Context, full string, number int64, by string) error {
	if q.unabortable.Load() {
		return fmt.Errorf("%w: no space left on device", queue.ErrStorage)
	}
	return q.Queue.Abort(ctx, full, number, by)
}

func (q *faultyQueue) Finish(ctx context.Context, now time.Time, full string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if q.unrecordable.Load() {
		return queue.Build{}, fmt.Errorf("%w: no space left on device", queue.ErrStorage)
	}
	return q.Queue.Finish(ctx, now, full, number, r, reason)
}

// puppets is a runner whose builds do what the scenario says.
type puppets struct {
	// mu guards the following.
	mu      sync.Mutex
	running map[string]*puppet
}

type puppet struct {
	log  io.Writer
	end  chan runner.Result
	over bool
}

func (p *puppets) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	own := &puppet{log: log, end: make(chan runner.Result)}
	p.mu.Lock()
	p.running[fmt.Sprintf("%s#%d", b.Job, b.Number)] = own
	p.mu.Unlock()
	select {
	case r := <-own.end:
		return r
	case <-ctx.Done():
		own.over = true
		return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
	}
}

// fail ends the running build.
func (p *puppets) fail() {
	for _, own := range p.running {
		if !own.over {
			own.over = true
			own.end <- runner.Result{Outcome: runner.Failure, Reason: "exit status 1"}
		}
	}
}

func (p *puppets) finishAll() {
	for _, own := range p.running {
		if !own.over {
			own.over = true
			own.end <- runner.Result{Outcome: runner.Success}
		}
	}
}

// looker is a poller whose result the test sets.
type looker struct{ finds bool }

func (l *looker) Poll(_ context.Context, _ runner.Build, log io.Writer) (bool, error) {
	_, err := io.WriteString(log, "looked\n")
	return l.finds, err
}

// exchange is a request and its answer.
type exchange struct {
	*httptest.ResponseRecorder
	handled bool
	cancel  context.CancelFunc
	ended   chan struct{}
	shown   int  // bytes of the body
	waits   bool // it was sent while the server did not answer

	// mu guards the body of a stream that is read while it goes on, and the following.
	mu       sync.Mutex
	answered bool // the status was sent
}

func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	x.ResponseRecorder.WriteHeader(status)
}

func (x *exchange) isAnswered() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.answered
}

func (x *exchange) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ResponseRecorder.Write(p)
}

func (x *exchange) body() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.Body.String()
}

func (x *exchange) hasEnded() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

// send serves a request. It returns when the answer is complete, or when the handler waits.
func (s *scenario) send(r *http.Request) *exchange {
	ctx, cancel := context.WithCancel(r.Context())
	x := &exchange{ResponseRecorder: httptest.NewRecorder(), cancel: cancel, ended: make(chan struct{})}
	s.sent = append(s.sent, x)
	go func() {
		defer close(x.ended)
		x.handled = s.api.Serve(x, r.WithContext(ctx)) //nolint:contextcheck // Serve takes the request's
	}()
	synctest.Wait()
	return x
}

// request parses a request of a scenario: a line, headers, an empty line, a body.
func (s *scenario) request(lines []string) *http.Request {
	s.t.Helper()
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		s.t.Fatalf("%q is no request line", lines[0])
	}
	at := slices.Index(lines, "")
	if at < 0 {
		at = len(lines)
	}
	header := http.Header{}
	for _, line := range lines[1:at] {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
	}
	body := []byte(strings.Join(lines[min(at+1, len(lines)):], "\n"))
	if strings.HasPrefix(header.Get("Content-Type"), "multipart/") {
		body = bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))
	}
	body = append(body, bytes.Repeat([]byte("x"), s.filler)...)
	var reader io.Reader = bytes.NewReader(body)
	if s.chunked {
		reader = io.MultiReader(reader) // its length is unknown
	}
	if len(body) == 0 {
		reader = http.NoBody
	}
	r := httptest.NewRequestWithContext(s.t.Context(), method, target, reader)
	r.Header = header
	r.Host = "ci.example.com"
	s.filler, s.chunked = 0, false
	return r
}

// direct performs a line of a scenario that is not a request.
func (s *scenario) direct(line string) {
	s.t.Helper()
	verb, rest, _ := strings.Cut(line, " ")
	number := func() int {
		n, err := strconv.Atoi(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	switch verb {
	case "user":
		s.user = strings.TrimSuffix(rest, "nobody")
	case "remote":
		s.remote = netip.MustParseAddr(rest)
	case "methods":
		s.api.Methods = strings.Fields(rest)
	case "joined":
		s.api.Joined = number()
	case "repeat":
		s.repeat = number()
	case "filler":
		s.filler = number()
	case "chunked":
		s.chunked = true
	case "crowded": // there are as many streams as there can be
		s.api.InFlight = new(web.InFlight)
		for err := error(nil); err == nil; {
			_, err = (&web.Site{InFlight: s.api.InFlight}).Request(nil, httptest.NewRequest(http.MethodGet, "/", nil)).EnterStream()
		}
	case "queue_limit":
		s.detach()
		s.attach(buildtoken.Config{Sites: []*definition.Site{s.api.Definition}, QueueLimit: number()})
	case "detach":
		s.detach()
	case "read_rule":
		s.detach()
		s.api.Definition = s.define(rest)
		s.attach(buildtoken.Config{Sites: []*definition.Site{s.api.Definition}})
	case "changes":
		s.looker.finds = true
	case "unreadable":
		s.queue.unreadable.Store(true)
	case "slow_cancel":
		d, err := time.ParseDuration(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		s.queue.late.Store(int64(d))
	case "unrecordable": // builds end, and their end cannot be recorded
		s.queue.unrecordable.Store(true)
	case "recordable":
		s.queue.unrecordable.Store(false)
	case "break_logs": // there is something else in the place of their directory
		if err := os.Rename(filepath.Join(s.dir, "logs"), filepath.Join(s.dir, "lost")); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "logs"), nil, 0o600); err != nil {
			s.t.Fatal(err)
		}
	case "lose_logs":
		if err := os.RemoveAll(filepath.Join(s.dir, "logs")); err != nil {
			s.t.Fatal(err)
		}
	case "builds": // this many builds, one after the other, which fail
		s.detach()
		s.attach(buildtoken.Config{Sites: []*definition.Site{s.api.Definition}, KeepBuilds: 1000})
		build, count, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			s.t.Fatal(err)
		}
		for range n {
			s.send(s.request([]string{"POST /buildByToken/build?delay=0&token=TacoTuesday&job=" + build}))
			s.runner.fail()
			synctest.Wait()
		}
	case "done":
		close(s.done)
	case "no_engine":
		s.api.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("the file is locked") }
	case "disk_full":
		s.queue.diskFull.Store(true)
	case "broken":
		s.queue.broken.Store(true)
	case "advance":
		d, err := time.ParseDuration(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d)
	case "print":
		build, text, _ := strings.Cut(rest, " ")
		text, err := strconv.Unquote(text)
		if err != nil {
			s.t.Fatal(err)
		}
		_, _ = io.WriteString(s.runner.running[build].log, text)
	case "finish":
		build, outcome, _ := strings.Cut(rest, " ")
		own := s.runner.running[build]
		own.over = true
		result := runner.Result{Outcome: runner.Outcome(outcome)}
		if outcome != "SUCCESS" {
			result.Reason = "exit status 1"
		}
		own.end <- result
	case "hang_up":
		s.open.cancel()
	case "matrix":
		s.matrix()
	default:
		s.t.Fatalf("unknown directive %q", line)
	}
	synctest.Wait()
	s.showMore()
}

// rulesOf returns rules with these expressions.
func rulesOf(sources ...string) []policy.Rule {
	rules := make([]policy.Rule, len(sources))
	for i, source := range sources {
		rules[i].Source = source
	}
	return rules
}

package web_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

var (
	matrixRequests = flag.Int("matrix", 3000, "how many requests TestAuthorizationMatrix sends to each of its sites")
	matrixSeed     = flag.Uint64("matrixseed", 0, "the only seed of TestAuthorizationMatrix, unless 0")
)

// TestAuthorizationMatrix sends random requests over tokens at every level, expiry dates, grants,
// rules, users, addresses, methods and endpoints, with wrong tokens in between, and compares each
// status with that of a naive model. One of the two sites has tokens at the top level, the other
// one has a job that no token opens.
func TestAuthorizationMatrix(t *testing.T) {
	for name, top := range map[string]bool{"tokens at the top level": true, "a job without tokens": false} {
		t.Run(name, func(t *testing.T) {
			seed := cmp.Or(*matrixSeed, rand.Uint64())
			defer func() {
				if t.Failed() {
					t.Logf("replay: go test ./buildtoken/web -run TestAuthorizationMatrix -matrixseed %d", seed)
				}
			}()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := openMatrix(t, dir, top)
				random := rand.New(rand.NewPCG(seed, 0))
				// Some statuses are rare, so a few seeds need more requests until each was seen.
				for n := 0; n < *matrixRequests || n < 20*(*matrixRequests) && len(m.unseen()) > 0; n++ {
					m.step(n, random)
				}
				if unseen := m.unseen(); len(unseen) > 0 {
					t.Errorf("no request to some endpoints was answered with some statuses: %q", unseen)
				}
			})
		})
	}
}

// matrix is a site and its model.
type matrix struct {
	*testing.T
	model
	ctl     *buildtoken.Controller
	site    *web.Site
	jobs    []*modelJob
	secrets []string
	items   map[string]int64 // one of each job
	addr    netip.Addr
	user    string
	seen    map[string]int // how often each endpoint was answered with each status
}

// grantSets are the grants of tokens, "" being the default.
var grantSets = []string{"", "trigger", "status", "log", "cancel", "trigger status log cancel"}

// levelTokens returns tokens of one level with every combination of expiry and grants, some with a
// rule. Some secrets occur at every level.
func (m *matrix) levelTokens(level int, place string) (specs []definition.Token, all []modelToken) {
	rules := []string{"", `request.method == "POST"`, "", `request.remote_ip == "10.0.0.1"`, `params["NOPE"] == "x"`}
	for e, expires := range []time.Time{{}, time.Now().AddDate(0, 0, -1), time.Now().Add(time.Hour), time.Now().AddDate(0, 0, 30)} {
		for g, grants := range grantSets {
			n := len(all)
			secret := fmt.Sprintf("%s-%d", place, n)
			if n%5 == 2 {
				secret = fmt.Sprintf("shared-%d", n)
			}
			if g == 0 && level == 1 {
				secret = fmt.Sprintf("shared-%d", e+2) // a number that differs from the other levels
			}
			parsed, err := token.ParseGrants(strings.Fields(grants))
			if err != nil {
				m.Fatal(err)
			}
			rule := rules[(n+level)%len(rules)]
			specs = append(specs, definition.Token{Name: fmt.Sprint("t", n), Digest: token.NewSecret(secret).Digest(), Expires: expires, Grants: parsed})
			if rule != "" {
				specs[n].Allow = rulesOf(rule)
			}
			all = append(all, modelToken{secret, level, place, expires, strings.Fields(cmp.Or(grants, "trigger")), rule})
			if !slices.Contains(m.secrets, secret) {
				m.secrets = append(m.secrets, secret)
			}
		}
	}
	return specs, all
}

func openMatrix(t *testing.T, dir string, top bool) *matrix {
	t.Helper()
	m := &matrix{T: t, items: map[string]int64{}, seen: map[string]int{}, model: model{
		wrong: map[[2]string][]time.Time{}, right: map[[2]string]time.Time{}, cancelled: map[string]bool{},
	}}
	folder, inFolder := m.levelTokens(1, "team")
	all := definition.Folder{}
	var atTop []modelToken
	if top {
		all.Tokens, atTop = m.levelTokens(2, "top")
	}
	quiet := 365 * 24 * time.Hour
	add := func(to *definition.Folder, j definition.Job, is modelJob) {
		j.Runner, j.Coalesce, j.Settings.QuietPeriod = &puppets{running: map[string]*puppet{}}, job.Never, &quiet
		j.Disabled = is.disabled
		if is.polled {
			j.Poller = &looker{}
		}
		if is.params {
			j.Params = []job.Param{{Name: "A", Kind: job.KindString, Default: "one"}}
		}
		to.Jobs = append(to.Jobs, j)
		m.jobs = append(m.jobs, &is)
	}
	team := definition.Folder{Name: "team", Tokens: folder, Allow: rulesOf(`delay <= duration("9000h")`)}
	teamRules := []string{`delay <= duration("9000h")`}
	for _, is := range []modelJob{
		{name: "team/app", polled: true},
		{name: "team/params", params: true},
		{name: "team/off", disabled: true},
		{name: "team/ruled", rules: []string{`cause.startsWith("please")`, `user == "" || user.size() == 5`}},
	} {
		own, ownModel := m.levelTokens(0, is.name)
		short := strings.TrimPrefix(is.name, "team/")
		j := definition.Job{Name: short, Tokens: own, Allow: rulesOf(is.rules...)}
		is.tokens, is.rules = slices.Concat(ownModel, inFolder, atTop), slices.Concat(teamRules, is.rules)
		add(&team, j, is)
	}
	add(&team, definition.Job{Name: "inherits"}, modelJob{name: "team/inherits", tokens: slices.Concat(inFolder, atTop), rules: teamRules})
	all.Folders = []definition.Folder{team}
	add(&all, definition.Job{Name: "plain"}, modelJob{name: "plain", tokens: atTop})

	d, err := definition.Compile(definition.Spec{
		Root: all, Access: definition.Access{Build: `user == "alice" || request.remote_ip == "10.0.0.3"`},
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db"), Commit: func(tx *bolt.Tx) error {
		tx.DB().NoSync = true
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.ctl, err = buildtoken.Open(t.Context(), buildtoken.Options{Queue: db, Dir: dir, SealKey: vault.Key{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.ctl.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.ctl.Attach(t.Context(), buildtoken.Config{
		Sites: []*definition.Site{d}, QueueLimit: 1_000_000, WrongTokens: throttle.Limit{Max: modelMax, Window: modelWindow},
	}); err != nil {
		t.Fatal(err)
	}
	for _, j := range m.jobs {
		it, _, err := db.Schedule(t.Context(), time.Now(), queue.Request{Job: j.name, Delay: quiet, Solo: true})
		if err != nil {
			t.Fatal(err)
		}
		m.items[j.name] = it.ID
	}
	m.site = &web.Site{
		Open: func() (*buildtoken.Controller, error) { return m.ctl, nil }, Definition: d,
		Root:   func(*http.Request) string { return root },
		Remote: func(*http.Request) netip.Addr { return m.addr },
		User:   func(*http.Request) string { return m.user },
		Log:    zap.NewNop(),
	}
	return m
}

// tokenPlaces are the places of a token in the order in which they count.
var tokenPlaces = []string{"query", "body", "Authorization", "X-Build-Token", "X-Gitlab-Token"}

func pick[T any](random *rand.Rand, all ...T) T { return all[random.IntN(len(all))] }

// step lets a random time pass, sends one random request and compares its status.
func (m *matrix) step(n int, random *rand.Rand) {
	m.Helper()
	switch random.IntN(400) {
	case 0:
		time.Sleep(8 * 24 * time.Hour)
	case 1, 2, 3:
		time.Sleep(40 * time.Minute)
	case 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15:
		time.Sleep(modelWindow)
	default:
		time.Sleep(time.Second)
	}
	r := modelRequest{
		endpoint: pick(random, "build", "buildWithParameters", "polling", "status", "log", "cancel", "job/build"),
		method:   pick(random, "GET", "POST", "POST", "POST", "HEAD", "PUT"),
		user:     pick(random, "", "", "", "alice", "bob"),
		addr: netip.MustParseAddr(pick(random,
			"10.0.0.1", "10.0.0.2", "10.0.0.3", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")),
		cross: random.IntN(5) == 0, prefetch: random.IntN(50) == 0,
		cause: pick(random, "", "please", "please do", "no"),
		delay: pick(random, "8000h", "8000h", "8000h", "soon"),
		item:  pick(random, "own", "own", "", "another"),
	}
	if r.endpoint == "log" {
		r.item = "" // the log of a waiting item does not end
	}
	r.target = pick(random, m.jobs...)
	r.job = r.target.name
	switch random.IntN(20) {
	case 0:
		r.job, r.target = pick(random, "nothing", "team", "team/app/more", "App", "team/", "tea"), nil
	case 1:
		if r.endpoint != "job/build" {
			r.job, r.target = "", nil
		}
	case 2:
		r.job = "/" + strings.ReplaceAll(r.job, "/", "//") + "/"
	}
	places := map[string]string{}
	if r.target != nil && random.IntN(3) == 0 { // this one should succeed, unless the client is throttled
		r.method, r.prefetch, r.cause, r.delay, r.item, r.job = "POST", false, "please", "8000h", "own", r.target.name
		switch {
		case r.endpoint == "log":
			r.item = ""
		case r.endpoint == "build" && r.target.params:
			r.endpoint = "buildWithParameters"
		case r.endpoint == "buildWithParameters" && !r.target.params:
			r.endpoint = "build"
		}
	}
	secret := func() string {
		switch random.IntN(8) {
		case 0:
			return pick(random, "", "wrong", "Team-0", token.NewSecret(m.secrets[0]).Digest().String())
		case 1, 2:
			return m.secrets[random.IntN(len(m.secrets))]
		}
		if r.target == nil || len(r.target.tokens) == 0 {
			return "wrong"
		}
		if t := pick(random, r.target.tokens...); random.IntN(2) == 0 {
			return t.secret
		}
		at := random.IntN(len(r.target.tokens)) // from there on, the first that grants everything and does not expire
		for i := range r.target.tokens {
			if t := r.target.tokens[(at+i)%len(r.target.tokens)]; len(t.grants) == 4 && t.expires.IsZero() {
				return t.secret
			}
		}
		return "wrong"
	}
	for range pick(random, 0, 1, 1, 1, 1, 1, 2) {
		places[pick(random, tokenPlaces...)] = secret()
	}
	if r.method != "POST" {
		delete(places, "body")
	}
	for _, place := range tokenPlaces {
		if place == "Authorization" && r.endpoint == "job/build" && r.user != "" {
			continue // it is the user's
		}
		if secret, ok := places[place]; ok {
			r.presented = append(r.presented, secret)
		}
	}
	want := m.status(time.Now(), r)
	w := httptest.NewRecorder()
	m.addr, m.user = r.addr, r.user
	request := m.request(r, places)
	if !triggers.Serve(m.site.Request(w, request)) {
		m.Fatalf("request %d, %s %s, is not served", n, request.Method, request.URL)
	}
	m.seen[fmt.Sprint(r.endpoint, " ", w.Code)]++
	if w.Code != want {
		m.Fatalf("request %d: %s %s with tokens %q by user %q from %s, another site: %v, at %v\n= %d %s, want %d", n,
			request.Method, request.URL, places, r.user, r.addr, r.cross, time.Now().UTC(), w.Code, w.Body, want)
	}
	if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
		m.Errorf("request %d: 429 without Retry-After", n)
	}
}

// request writes a request of the model as HTTP.
func (m *matrix) request(r modelRequest, places map[string]string) *http.Request {
	query, body, path := url.Values{}, url.Values{}, "/buildByToken/"+r.endpoint
	if r.endpoint == "job/build" {
		path = "/job/" + strings.Join(strings.FieldsFunc(r.job, func(c rune) bool { return c == '/' }), "/job/") + "/build"
	} else if r.job != "" {
		query.Set("job", r.job)
	}
	query.Set("cause", r.cause)
	query.Set("delay", r.delay)
	switch {
	case r.item == "own" && r.target != nil:
		query.Set("item", fmt.Sprint(m.items[r.target.name]))
	case r.item != "":
		query.Set("item", pick(rand.New(rand.NewPCG(uint64(len(m.seen)), 0)), "999999", "0", "x", fmt.Sprint(m.other(r.target))))
	}
	header := http.Header{}
	for place, secret := range places {
		switch place {
		case "query":
			query.Set("token", secret)
		case "body":
			body.Set("token", secret)
		case "Authorization":
			header.Set(place, "Bearer "+secret)
		default:
			header.Set(place, secret)
		}
	}
	if r.endpoint == "buildWithParameters" {
		query.Set("UNKNOWN", "x")
	}
	request := httptest.NewRequestWithContext(m.Context(), r.method, path+"?"+query.Encode(), strings.NewReader(body.Encode()))
	request.Header = header
	if len(body) > 0 {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.cross {
		header.Set("Sec-Fetch-Site", "cross-site")
	}
	if r.prefetch {
		header.Set("Sec-Purpose", "prefetch")
	}
	return request
}

// other returns the item of another job.
func (m *matrix) other(j *modelJob) int64 {
	for _, o := range m.jobs {
		if o != j {
			return m.items[o.name]
		}
	}
	return 0
}

// unseen returns the endpoints, each with a status, of which no request was answered with that
// status. The matrix could lose cases unnoticed otherwise.
func (m *matrix) unseen() (missing []string) {
	for endpoint, statuses := range map[string][]int{
		"build": {201, 400, 403, 404, 405, 429}, "buildWithParameters": {201, 400, 403, 404, 405, 429},
		"polling": {200, 400, 403, 404, 405, 429}, "status": {200, 400, 403, 404, 405, 429}, "log": {400, 403, 404, 405, 429},
		"cancel": {204, 400, 403, 404, 405, 409, 429}, "job/build": {201, 400, 403, 404, 405, 429},
	} {
		for _, status := range statuses {
			if name := fmt.Sprint(endpoint, " ", status); m.seen[name] == 0 {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

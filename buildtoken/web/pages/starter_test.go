package pages_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

func TestStarters(t *testing.T) {
	causes := map[string]queue.Cause{
		"alice":     {Kind: queue.CauseUser, User: "alice"},
		"token ci":  {Kind: queue.CauseRemote, Token: "ci", Addr: "2001:db8::7"},
		"token al":  {Kind: queue.CauseRemote, Token: "alice", Addr: "192.0.2.7"},
		"webhook":   {Kind: queue.CauseWebhook, Webhook: "github"},
		"forge":     {Kind: queue.CauseWebhook, Webhook: "forge"},
		"timer":     {Kind: queue.CauseTimer},
		"scm":       {Kind: queue.CauseSCM},
		"anonymous": {Kind: queue.CauseRemote, Addr: "192.0.2.9"},
		"user:ci":   {Kind: queue.CauseUser, User: "user:ci"},
	}
	for by, want := range map[string]string{
		"": "alice anonymous forge scm timer token al token ci user:ci webhook", "user:alice": "alice", "token:alice": "token al",
		"alice": "alice token al", "ALI": "alice token al", "192.0.2.": "anonymous token al", " token:ci ": "token ci", "ci": "token ci user:ci", "webhook:github": "webhook", "github": "webhook",
		"timer": "timer", "scm": "scm", "2001:db8::7": "token ci", "192.0.2.9": "anonymous", "user:user:ci": "user:ci",
		"user:Alice": "", "user:ali": "", "user:": "user:ci", "user:timer": "", "token:": "", "alicex": "",
	} {
		if got := strings.Join(pages.StartedBy(by, causes), " "); got != want {
			t.Errorf("by=%s: %q, want %q", by, got, want)
		}
	}
	causes["no user"] = queue.Cause{Kind: queue.CauseUser}
	causes["no webhook"] = queue.Cause{Kind: queue.CauseWebhook}
	causes["signed"] = queue.Cause{Kind: queue.CauseWebhook, Webhook: "github", Token: "ci"}
	for name, want := range map[string][2]string{
		"alice": {"user:alice", ""}, "token ci": {"", "token:ci"}, "webhook": {"webhook:github", ""}, "signed": {"webhook:github", "token:ci"},
		"timer": {"timer", ""}, "scm": {"scm", ""}, "anonymous": {}, "no user": {}, "no webhook": {},
	} {
		if named, token := pages.StartersOf(causes[name]); named != want[0] || token != want[1] {
			t.Errorf("the starters of %s are %q and %q, want %q", name, named, token, want)
		}
	}
}

// withToken is a job that the token ci opens.
func withToken(name string, r runner.Runner) definition.Job {
	j := at(name, r)
	j.Tokens = []definition.Token{{Name: "ci", Digest: token.NewSecret("of ci").Digest()}}
	return j
}

// startAs starts a build as a user, or with a token if the user is "", and waits until it has
// ended.
func (s *site) startAs(full, user, note string) {
	s.Helper()
	by := definition.Caller{User: user, Post: true, Remote: netip.MustParseAddr("192.0.2.7")}
	if user == "" {
		by.Secret, by.Presented = token.NewSecret("of ci"), true
	}
	t := buildtoken.Trigger{Caller: by, Action: buildtoken.Build, Job: full, UserMayTrigger: true, Root: root}
	if note != "" {
		t.Cause = &note
	}
	if _, err := s.ctl.Trigger(s.Context(), s.def, t); err != nil {
		s.Fatal(err)
	}
	s.settle()
}

// rowKeys are the keys of the rows of a page, joined by spaces.
func rowKeys(page string) string {
	var all []string
	for _, part := range strings.Split(page, `<tr data-key="`)[1:] {
		key, _, _ := strings.Cut(part, `"`)
		all = append(all, strings.TrimPrefix(key, "/ci/job/"))
	}
	return strings.Join(all, " ")
}

// olderOf returns the address of the older builds that a page links to, "" if there are none.
func olderOf(page string) string {
	link := regexp.MustCompile(`<a href="/ci([^"#]+)#history-title" aria-keyshortcuts="p">Older builds`).FindStringSubmatch(page)
	if link == nil {
		return ""
	}
	return html.UnescapeString(link[1])
}

func TestHistoryOfOneStarter(t *testing.T) {
	n := 0
	alternate := run(func(context.Context, runner.Build, io.Writer) runner.Result {
		n++
		return runner.Result{Outcome: []runner.Outcome{runner.Success, runner.Failure}[n%2]}
	})
	onSite(t, jobs(withToken("app", alternate)), func(s *site) {
		for i := range 84 {
			s.startAs("app", []string{"alice", "", "alice"}[i%3], "")
		}
		s.holds(s.page("/job/app/"),
			`with token <a href="/ci/job/app/?by=token%3Aci#history-title" class="by" title="Builds by ci"><bdi>ci</bdi></a>`,
			`Started by user <a href="/ci/job/app/?by=user%3Aalice#history-title"`)
		page := s.page("/job/app/?by=token:ci")
		if got := rowKeys(page); !strings.HasPrefix(got, "83 80 77 ") || !strings.HasSuffix(got, " 14 11") {
			s.Errorf("builds with the token are %s, want 83 80 77 … 14 11", got)
		}
		s.holds(page, `name="by" value="token:ci"`, `<a href="/ci/?by=token%3Aci#history-title">In all jobs</a>`)
		s.lacks(page, `data-region="history"`, "The search stopped")
		s.lacks(s.page("/job/app/?state=failure"), `title="Builds by "`, "In all jobs") // there is one without a starter
		if got, want := olderOf(page), "/job/app/?before=11&by=token%3Aci"; got != want {
			s.Fatalf("older builds are at %s, want %s", got, want)
		}
		if got := rowKeys(s.page(olderOf(page))); got != "8 5 2" {
			s.Errorf("older builds with the token are %s, want 8 5 2", got)
		}
		if got := rowKeys(s.page("/job/app/?by=ci&state=failure&before=40")); got != "35 29 23 17 11 5" {
			s.Errorf("failed builds with the token below #40 are %s, want 35 29 23 17 11 5", got)
		}
		s.holds(s.page("/job/app/?by=user:ci"), "No such builds.")
		s.holds(s.page("/job/app/?by=%3Cb%3E"), `name="by" value="&lt;b&gt;"`, "No such builds.")
		s.holds(s.page("/job/app/?by=&state="), `data-region="history"`)
	})
}

// A build with several causes is one of each of their starters, and the list shows the cause
// for which it is there.
func TestHistoryOfAJoinedStarter(t *testing.T) {
	j, hour := withToken("app", writes("")), time.Hour
	j.Settings.QuietPeriod = &hour
	onSite(t, jobs(j), func(s *site) {
		s.startAs("app", "", "first")
		s.startAs("app", "alice", "second")
		s.holds(s.page("/queue/item/1/"), `<a href="/ci/job/app/?by=user%3Aalice#history-title"`, `<a href="/ci/job/app/?by=token%3Aci#history-title"`)
		time.Sleep(hour)
		s.settle()
		s.holds(s.page("/job/app/"), "<bdi>first</bdi>", "and 1 more")
		page := s.page("/job/app/?by=user:alice")
		s.holds(page, "<bdi>second</bdi>", "and 1 more")
		s.lacks(page, "<bdi>first</bdi>")
	})
}

// The search for the builds of a starter stops, says so, and can be continued.
func TestHistoryOfAStarterIsSearchedInParts(t *testing.T) {
	onQueue(t, jobs(at("app", writes(""))), func(q buildtoken.Queue) buildtoken.Queue {
		return &long{Queue: q}
	}, func(s *site) {
		page := s.page("/job/app/?by=user:alice")
		s.holds(page, "The search stopped after 2000 builds. “Older builds” goes on.", "No such builds among these.")
		if got, want := olderOf(page), "/job/app/?before=3001&by=user%3Aalice"; got != want {
			s.Errorf("older builds are at %s, want %s", got, want)
		}
	})
}

// long is a queue in which each job has 5000 builds, all by bob.
type long struct {
	buildtoken.Queue
	read int
}

func (l *long) Builds(ctx context.Context, full string, before int64, limit int) ([]queue.Build, error) {
	var all []queue.Build
	if before == 0 {
		before = 5001
	}
	for n := before - 1; n > 0 && len(all) < limit; n-- {
		b, err := l.Build(ctx, full, n)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (l *long) Build(_ context.Context, full string, number int64) (queue.Build, error) {
	l.read++
	cause := queue.Cause{Kind: queue.CauseUser, User: "bob", Count: 1}
	return queue.Build{Item: queue.Item{ID: number, Job: full, Causes: []queue.Cause{cause}}, Number: number, Started: time.Unix(number, 0), Result: queue.Success}, nil
}

// folders is a site whose jobs alice may read, apart from secret. rita may read one.
func folders() definition.Spec {
	spec := jobs(withToken("top", writes("")))
	for _, name := range []string{"a", "b", "secret"} {
		spec.Root.Folders = append(spec.Root.Folders, definition.Folder{Name: name, Jobs: []definition.Job{withToken("one", writes("")), withToken("two", fails(runner.Failure, ""))}})
	}
	spec.Access.Read = `user == "alice" && !job.full_name.startsWith("secret") || user == "rita" && job.full_name == "top"`
	return spec
}

func TestBuildsOfAFolder(t *testing.T) {
	onSite(t, folders(), func(s *site) {
		for _, full := range []string{"top", "a/one", "a/two", "b/one", "secret/one"} {
			s.startAs(full, "alice", "")
			s.startAs(full, "", "")
		}
		s.holds(s.page("/"), `<a href="/ci/?by=">Recent builds</a>`)
		s.holds(s.page("/job/a/"), `<a href="/ci/job/a/?by=">Recent builds</a>`)
		for _, tt := range []struct{ path, want string }{
			{"/?by=", "b/job/one/2/ b/job/one/1/ a/job/two/2/ a/job/two/1/ a/job/one/2/ a/job/one/1/ top/2/ top/1/"},
			{"/?by=token:ci", "b/job/one/2/ a/job/two/2/ a/job/one/2/ top/2/"},
			{"/?by=alice&state=failure", "a/job/two/1/"},
			{"/?by=&state=failure", "a/job/two/2/ a/job/two/1/"},
			{"/job/a/?by=", "a/job/two/2/ a/job/two/1/ a/job/one/2/ a/job/one/1/"},
			{"/job/a/?by=user:alice", "a/job/two/1/ a/job/one/1/"},
			{"/?by=nobody", ""},
		} {
			if got := rowKeys(s.page(tt.path)); got != tt.want {
				s.Errorf("%s lists %s, want %s", tt.path, got, tt.want)
			}
		}
		if got, want := rowKeys(s.get("/?by=", "rita").Body.String()), "top/2/ top/1/"; got != want {
			s.Errorf("rita sees %s, want %s", got, want)
		}
		s.holds(s.page("/?by="), `data-region="builds"`, `data-events="/ci/queue/-/events/?by="`, `<a href="/ci/?by=token%3Aci#history-title"`)
		page := s.page("/job/a/?by=user:alice")
		s.holds(page, "<title>user:alice · Builds · a</title>")
		s.holds(page, `<a href="/ci/job/a/?by=user%3Aalice#history-title"`, `<a href="/ci/job/a/job/one/"><bdi>a » one</bdi></a>`, `<a href="/ci/job/a/?by=#history-title">Show all</a>`)
		s.lacks(page, `data-region="builds"`)
		if w := s.get("/job/secret/?by=", "alice"); w.Code != http.StatusForbidden {
			s.Errorf("a folder that alice may not read = %d, want 403", w.Code)
		}
		out, _, stop := s.open("/queue/-/events/?by=", "alice")
		defer stop()
		out.drain()
		s.startAs("secret/one", "alice", "")
		s.lacks(out.drain(), "secret")
		s.startAs("b/two", "alice", "")
		s.holds(out.drain(), "/ci/job/b/job/two/1/")
	})
}

// Without jobs there are no builds to list, and the page explains how to make a job.
func TestBuildsOfASiteWithoutJobs(t *testing.T) {
	onSite(t, jobs(), func(s *site) {
		page := s.page("/?by=")
		s.holds(page, `data-region="jobs"`)
		s.lacks(page, `data-region="builds"`)
	})
}

// Each build is on exactly one page, also those that started at the same instant.
func TestBuildsOfAFolderHavePages(t *testing.T) {
	spec := jobs(at("slow", hangs("")))
	for i := range 3 {
		spec.Root.Jobs = append(spec.Root.Jobs, at(fmt.Sprintf("app%d", i), writes("")))
	}
	onSite(t, spec, func(s *site) {
		for range 30 {
			for i := range 3 {
				s.triggerIn(fmt.Sprintf("app%d", i), "1s")
			}
			s.settle()
			s.settle()
		}
		s.trigger("slow", nil)
		s.holds(s.page("/?by="), `data-events="/ci/queue/-/events/?by="`, "Older builds")
		seen, pages := map[string]bool{}, 0
		for path := "/?by="; path != ""; pages++ {
			page := s.page(path)
			if newest := strings.Contains(page, `<a href="/ci/?by=#history-title" aria-keyshortcuts="n">Newest builds`); newest != (pages > 0) {
				s.Errorf("%s leads to the newest builds: %v", path, newest)
			}
			for key := range strings.FieldsSeq(rowKeys(page)) {
				if seen[key] {
					s.Errorf("%s is on two pages", key)
				}
				seen[key] = true
			}
			path = olderOf(page)
		}
		if len(seen) != 91 || pages != 4 || !seen["slow/1/"] {
			s.Errorf("%d builds on %d pages, want 91 on 4, with the one that runs", len(seen), pages)
		}
	})
}

// The page reads a bounded number of records, whatever the number of jobs, and goes on where
// it stopped.
func TestBuildsOfAFolderHaveBoundedCost(t *testing.T) {
	l, spec := newLarge(200)
	records := &long{}
	onQueue(t, spec, func(q buildtoken.Queue) buildtoken.Queue {
		l.Queue, records.Queue = q, l
		return records
	}, func(s *site) {
		page := s.page("/?by=")
		if len(strings.Fields(rowKeys(page))) != 25 || records.read != 25 {
			s.Errorf("the newest builds: %d records were read, want 25 for %s", records.read, rowKeys(page))
		}
		s.lacks(page, "The search stopped")
		records.read = 0
		pages, looked := 0, 0
		for path := "/?by=user:alice"; path != ""; pages++ {
			page := s.page(path)
			if records.read > 500 {
				s.Fatalf("%s reads %d records, want at most 500", path, records.read)
			}
			if path = olderOf(page); path != "" {
				s.holds(page, fmt.Sprintf("The search stopped after %d builds.", records.read), "No such builds among these.")
			}
			looked, records.read = looked+records.read, 0
		}
		if looked != 200*30 || pages != 12 {
			s.Errorf("%d records were read for %d pages, want 6000 for 12", looked, pages)
		}
	})
}

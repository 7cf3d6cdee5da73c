package pages_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// chipsOf returns the values in a row of a page, as HTML.
func chipsOf(page, key string) string {
	_, row, _ := strings.Cut(page, `<tr data-key="`+key+`">`)
	row, _, _ = strings.Cut(row, "</tr>")
	_, chips, _ := strings.Cut(row, `<ul class="chips">`)
	chips, _, _ = strings.Cut(chips, "</ul>")
	return chips
}

func parameters() []job.Param {
	return []job.Param{
		{Name: "BRANCH", Kind: job.KindString, Default: "main"},
		{Name: "COMMIT", Kind: job.KindString, Link: "https://example.com/commit/{value}"},
		{Name: "SAME", Kind: job.KindString},
		{Name: "KEY", Kind: job.KindPassword, Default: "configured"},
		{Name: "DRY", Kind: job.KindBoolean},
	}
}

// send submits the form of a job and waits for a second.
func (s *site) send(full string, form url.Values) {
	s.Helper()
	if w := s.post("/job/"+strings.ReplaceAll(full, "/", "/job/")+"/buildForm", "alice", form); w.Code != http.StatusSeeOther {
		s.Fatalf("trigger = %d\n%s", w.Code, main(w.Body.String()))
	}
	s.settle()
}

func TestHistoryShowsTheParametersThatDiffer(t *testing.T) {
	commit := strings.Repeat("0123456789", 4)
	onSite(t, jobs(at("app", writes(""), parameters()...)), func(s *site) {
		s.send("app", url.Values{"SAME": {"always"}, "BRANCH": {"main"}, "KEY": {"hunter2"}})
		// A single build is compared with the defaults.
		if got, want := chipsOf(s.page("/job/app/"), "1"), `<li><span class="quiet">SAME</span> <bdi>always</bdi></li>`; got != want {
			s.Errorf("values of the only build:\n%s, want\n%s", got, want)
		}
		s.send("app", url.Values{"SAME": {"always"}, "BRANCH": {"<b>"}, "COMMIT": {commit}, "KEY": {"other"}})
		page := s.page("/job/app/")
		for key, want := range map[string]string{
			"1": `<li><span class="quiet">BRANCH</span> <bdi>main</bdi></li><li><span class="quiet">COMMIT</span> <span class="quiet">empty</span></li>`,
			"2": `<li><span class="quiet">BRANCH</span> <bdi>&lt;b&gt;</bdi></li><li><span class="quiet">COMMIT</span> ` +
				`<a href="https://example.com/commit/` + commit + `" rel="noopener noreferrer" title="` + commit + `"><bdi>0123456789</bdi></a></li>`,
		} {
			if got := chipsOf(page, key); got != want {
				s.Errorf("values of build %s:\n%s, want\n%s", key, got, want)
			}
		}
		s.lacks(page, "hunter2", "configured", "KEY</span>", "always")
	})
}

func TestValuesInListsAreShort(t *testing.T) {
	params := parameters()
	for _, name := range []string{"A", "B", "C"} {
		params = append(params, job.Param{Name: name, Kind: job.KindText})
	}
	onSite(t, jobs(at("app", writes(""), params...)), func(s *site) {
		long := strings.Repeat("é", 41)
		s.send("app", url.Values{
			"BRANCH": {long}, "COMMIT": {"c"}, "SAME": {"s"}, "DRY": {"true"}, "A": {"one\ntwo"}, "B": {"b"}, "C": {"hidden"}, "delay": {"1h"},
		})
		for _, path := range []string{"/queue/", "/job/app/"} {
			got := chipsOf(s.page(path), "1")
			s.holds(got, `title="`+long+`">`+strings.Repeat("é", 39)+`…</bdi>`, `DRY</span> <bdi>true</bdi>`, `<bdi title="one`, `>one…</bdi>`, `>b</bdi>`, `<li class="quiet">1 more</li>`)
			s.lacks(got, "hidden")
			if n := strings.Count(got, "<li>"); n != 6 {
				s.Errorf("%s shows %d values, want 6", path, n)
			}
		}
		s.send("app", url.Values{"BRANCH": {"main"}, "delay": {"1h"}})
		if got := chipsOf(s.page("/queue/"), "2"); got != "" {
			s.Errorf("values that are the defaults are shown: %s", got)
		}
		digest := strings.Repeat("0123456789abcdef", 4)
		s.send("app", url.Values{"BRANCH": {long[2:]}, "COMMIT": {digest}, "SAME": {strings.Repeat("x", 5000)}, "A": {"one\n"}, "delay": {"1h"}})
		s.holds(chipsOf(s.page("/queue/"), "3"), "<bdi>"+long[2:]+"</bdi>", `title="`+digest+`"><bdi>0123456789</bdi>`, `<bdi title="`+strings.Repeat("x", 4096)+`">`, `>one</bdi>`)
	})
}

func TestBuildShowsWhatChangedSinceTheBuildBefore(t *testing.T) {
	params := append(parameters(), job.Param{Name: "NOTES", Kind: job.KindText})
	onSite(t, jobs(at("app", writes(""), params...)), func(s *site) {
		s.send("app", url.Values{"SAME": {"always"}, "BRANCH": {"<b>"}, "KEY": {"hunter2"}, "NOTES": {"one\ntwo"}})
		s.lacks(s.page("/job/app/1/"), `class="was"`)
		s.send("app", url.Values{"SAME": {"always"}, "BRANCH": {"main"}, "KEY": {"other"}, "DRY": {"true"}, "NOTES": {""}})
		page := s.page("/job/app/2/")
		above, below, _ := strings.Cut(page, "data-console-log")
		const was = ` <span class="was" title="Changed since the build before">was `
		for where, text := range map[string]string{"above": above, "below": below} {
			for _, want := range []string{
				`<bdi>&lt;b&gt;</bdi></span>`, // BRANCH, although it has the default again
				`<bdi>false</bdi></span>`, `<bdi>one…</bdi></span>`,
			} {
				if !strings.Contains(text, was+want) {
					t.Errorf("%s the log, %q is missing", where, was+want)
				}
			}
			if n := strings.Count(text, was); n != 3 {
				t.Errorf("%s the log, %d values have changed, want 3", where, n)
			}
		}
		s.lacks(page, "hunter2", "other")
		s.send("app", url.Values{"SAME": {"always"}, "BRANCH": {"main"}, "KEY": {"hunter2"}, "DRY": {"true"}, "NOTES": {""}})
		s.lacks(s.page("/job/app/3/"), `class="was"`)
		s.send("app", url.Values{"SAME": {""}, "BRANCH": {"main"}, "DRY": {"true"}, "NOTES": {"x"}})
		s.holds(s.page("/job/app/4/"), was+`<bdi>always</bdi></span>`, was+`empty</span>`)
	})
}

func TestBuildShowsThatAFileIsNew(t *testing.T) {
	onSite(t, jobs(at("up", writes(""), job.Param{Name: "F", Kind: job.KindFile})), func(s *site) {
		for i, files := range [][]file{nil, {{"F", "a.txt", "x"}}, {{"F", "a.txt", "y"}}, {{"F", "b.txt", "y"}}} {
			if w := s.upload(nil, files...); w.Code != http.StatusSeeOther {
				s.Fatalf("form = %d", w.Code)
			}
			s.settle()
			_, got, _ := strings.Cut(s.page(fmt.Sprintf("/job/up/%d/", i+1)), `class="was" title="Changed since the build before">was `)
			got, _, _ = strings.Cut(got, "</span>")
			if want := []string{"", "empty", "", "<bdi>a.txt</bdi>"}[i]; got != want {
				s.Errorf("build %d: the value was %q, want %q", i+1, got, want)
			}
		}
	})
}

// A value for which there is no parameter any more is shown even if it is empty.
func TestListsShowValuesWithoutAParameter(t *testing.T) {
	onSite(t, jobs(at("app", writes(""), job.Param{Name: "OLD", Kind: job.KindString}), waits("gone")), func(s *site) {
		const wait = `<li><span class="quiet">N</span> <span class="quiet">empty</span></li>`
		s.trigger("app", nil)
		s.trigger("gone", nil)
		s.lacks(s.page("/queue/"), wait)
		def, err := definition.Compile(jobs(at("app", writes(""))))
		if err != nil {
			s.Fatal(err)
		}
		if _, err := s.ctl.Attach(s.Context(), buildtoken.Config{Sites: []*definition.Site{def}, Executors: 1, ShutdownTimeout: -1}); err != nil {
			s.Fatal(err)
		}
		s.settle()
		s.def, s.pages = def, pagesOf(s.ctl, def, zap.NewNop())
		if got, want := chipsOf(s.page("/job/app/"), "1"), `<li><span class="quiet">OLD</span> <span class="quiet">empty</span></li>`; got != want {
			s.Errorf("values of a build: %s, want %s", got, want)
		}
		if got := chipsOf(s.page("/queue/"), "2"); got != wait {
			s.Errorf("values of an item: %s, want %s", got, wait)
		}
	})
}

// What was a password is not shown as the value before, whatever the parameter is now.
func TestChangedParameterThatWasAPassword(t *testing.T) {
	onSite(t, jobs(at("app", writes(""), job.Param{Name: "KEY", Kind: job.KindPassword})), func(s *site) {
		s.send("app", url.Values{"KEY": {"hunter2"}})
		def, err := definition.Compile(jobs(at("app", writes(""), job.Param{Name: "KEY", Kind: job.KindString})))
		if err != nil {
			s.Fatal(err)
		}
		s.def, s.pages = def, pagesOf(s.ctl, def, zap.NewNop())
		s.trigger("app", map[string][]string{"KEY": {"open"}})
		page := s.page("/job/app/2/")
		s.holds(page, `<bdi class="value">open</bdi>`)
		s.lacks(page, `class="was"`)
	})
}

// Values that are long or have several lines stand in a box, and a page has only the beginning
// of very long ones.
func TestLongValues(t *testing.T) {
	onSite(t, jobs(at("app", writes(""), job.Param{Name: "V", Kind: job.KindText})), func(s *site) {
		cut := strings.Repeat("x", 4095)
		for _, tt := range []struct{ value, want string }{
			{"short", `<bdi class="value">short</bdi></dd>`},
			{strings.Repeat("x", 60), `<bdi class="value">` + strings.Repeat("x", 60) + `</bdi></dd>`},
			{strings.Repeat("x", 61), `<pre class="value" tabindex="0">` + strings.Repeat("x", 61) + `</pre></dd>`},
			{"two\nlines", `<pre class="value" tabindex="0">two` + "\n" + `lines</pre></dd>`},
			{"", `<span class="quiet">empty</span></dd>`},
			{cut + "y", `<pre class="value" tabindex="0">` + cut + `y</pre></dd>`},
			{cut + "yz", `<pre class="value" tabindex="0">` + cut + `y</pre><span class="quiet">The first part of 4 KiB.</span></dd>`},
			{cut + "üz", `<pre class="value" tabindex="0">` + cut + `</pre><span class="quiet">The first part of 4 KiB.</span></dd>`},
		} {
			id := s.trigger("app", map[string][]string{"V": {tt.value}})
			page := regexp.MustCompile(` <span class="was".*?</span></dd>`).ReplaceAllString(s.page(fmt.Sprintf("/job/app/%d/", id)), "</dd>")
			s.holds(page, "<dt><code>V</code></dt>\n<dd>"+tt.want)
		}
	})
}

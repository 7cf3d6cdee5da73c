package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

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
	})
}

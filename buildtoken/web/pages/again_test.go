package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestBuildAgainFillsForm(t *testing.T) {
	var got []string
	onSite(t, jobs(allKinds(seen(&got))), func(s *site) {
		s.trigger("deploy", map[string][]string{
			"BRANCH": {"<feature>"}, "NOTES": {"\nthree"}, "STAGE": {"prod"}, "DRY": {"false"}, "KEY": {"typed!"},
		})
		s.trigger("deploy", map[string][]string{"BRANCH": {"one\ntwo"}})
		s.holds(s.page("/job/deploy/1/"), `<a class="button" href="/ci/job/deploy/?like=1">Build again…</a>`)
		if n := strings.Count(s.page("/job/deploy/1/"), "What to build."); n != 1 {
			s.Errorf("%d values have the description of the first, want one", n)
		}
		page := s.page("/job/deploy/?like=1")
		s.holds(page, "With the values of build #1.", `<input type="hidden" name="again-of" value="1">`,
			`name="BRANCH" value="&lt;feature&gt;"`, "\">\n\nthree</textarea>", `<option value="prod" selected>`,
			`name="DRY" value="true">`, `name="KEY" autocomplete="new-password" required`,
			`Passwords and files are not kept. Enter again: <bdi>KEY</bdi>.`)
		s.lacks(page, "typed!", "hunter2")
		// The default of a password is used again without being typed. A value with line breaks
		// keeps them.
		page = s.page("/job/deploy/?like=2")
		s.holds(page, `<textarea id="param-BRANCH"`, "one\ntwo</textarea>", "Leave it empty for the default.")
		s.lacks(page, " required", "hunter2")

		got = nil
		for _, form := range []url.Values{
			{"again-of": {"2"}, "BRANCH": {"one\r\ntwo"}, "NOTES": {""}, "STAGE": {"dev"}, "KEY": {""}},
			{"again-of": {"2"}, "BRANCH": {"x"}, "cause": {"with x"}, "STAGE": {"dev"}, "KEY": {""}},
		} {
			if w := s.post("/job/deploy/buildForm", "alice", form); w.Code != http.StatusSeeOther {
				s.Fatalf("form = %d, want 303", w.Code)
			}
			s.settle()
		}
		if diff := cmp.Diff([]string{"BRANCH=one\ntwo", "NOTES=", "STAGE=dev", "DRY=false", "KEY=hunter2"}, got[:5]); diff != "" {
			s.Errorf("parameters (-want +got):\n%s", diff)
		}
		s.holds(s.page("/job/deploy/3/"), `<bdi>again, of #2</bdi> <span class="quiet">· Started by user <a `)
		s.holds(s.page("/job/deploy/4/"), `<bdi>again, of #2: with x</bdi> <span class="quiet">· Started by user <a `)
		// A refused form still belongs to the same build.
		w := s.post("/job/deploy/buildForm", "alice", url.Values{"again-of": {"2"}, "STAGE": {"moon"}})
		s.holds(w.Body.String(), `name="again-of" value="2"`)
	})
}

func TestBuildAgainOfNoBuild(t *testing.T) {
	onSite(t, jobs(allKinds(writes("")), at("other", writes(""))), func(s *site) {
		s.trigger("deploy", nil)
		s.trigger("other", nil)
		s.trigger("other", nil)
		for like, note := range map[string]string{
			"2": "Build #2 is not on record", "99": "Build #99 is not on record", "": "Such a build is not", "0": "Such a build is not",
			"-1": "Such a build is not", "lastBuild": "Such a build is not", "%3Cb%3E": "Such a build is not",
		} {
			page := s.page("/job/deploy/?like=" + like)
			s.holds(page, note, `name="BRANCH" value="main"`)
			s.lacks(page, "again-of")
		}
	})
}

// The right to read is not enough for a form; a user who can only build must not see the
// values.
func TestBuildAgainNeedsTheRightToBuild(t *testing.T) {
	onSite(t, jobs(allKinds(writes(""))), func(s *site) {
		s.trigger("deploy", nil)
		for _, path := range []string{"/job/deploy/1/", "/job/deploy/?like=1"} {
			s.lacks(s.get(path, "rita").Body.String(), "Build again", "again-of", "buildForm")
		}
		if w := s.get("/job/deploy/?like=1", "blind"); w.Code != http.StatusForbidden {
			s.Errorf("without read = %d, want 403", w.Code)
		}
	})
}

func TestBuildAgainRequiresFiles(t *testing.T) {
	params := []job.Param{{Name: "F", Kind: job.KindFile}, {Name: "G", Kind: job.KindFile}}
	onSite(t, jobs(at("up", writes(""), params...)), func(s *site) {
		if w := s.upload(nil, file{"F", "a.txt", "content"}); w.Code != http.StatusSeeOther {
			s.Fatalf("form = %d, want 303", w.Code)
		}
		s.settle()
		page := s.page("/job/up/?like=1")
		s.holds(page, "Choose it again: files are not kept.", `name="F" required`)
		if n := strings.Count(page, " required"); n != 1 {
			s.Errorf("%d fields are required, want 1", n)
		}
	})
}

// Only what the build was given is required, not what it left out or left empty.
func TestBuildAgainRequiresOnlyWhatWasGiven(t *testing.T) {
	params := []job.Param{
		{Name: "F", Kind: job.KindFile},
		{Name: "FREE", Kind: job.KindPassword},
		{Name: "DEFAULT", Kind: job.KindPassword, Default: "1234"},
		{Name: "GIVEN", Kind: job.KindPassword, Default: "1234"},
	}
	onSite(t, jobs(at("up", writes(""), params...)), func(s *site) {
		if w := s.upload(map[string]string{"FREE": "", "DEFAULT": "", "GIVEN": "5678"}, file{"F", "", ""}); w.Code != http.StatusSeeOther {
			s.Fatalf("form = %d, want 303", w.Code)
		}
		s.settle()
		s.trigger("up", map[string][]string{"GIVEN": {"5678"}}) // without the others
		for _, path := range []string{"/job/up/?like=1", "/job/up/?like=2"} {
			page := s.page(path)
			s.holds(page, `name="GIVEN" autocomplete="new-password" required`, "Enter again: <bdi>GIVEN</bdi>.",
				`<a href="/ci/job/up/">Start with the defaults instead</a>`)
			if n := strings.Count(page, " required"); n != 1 {
				s.Errorf("%s: %d fields are required, want 1", path, n)
			}
		}
		s.lacks(s.page("/job/up/"), " required", "instead")
	})
}

// The job can have changed since the build.
func TestBuildAgainOfAnotherDefinition(t *testing.T) {
	onSite(t, jobs(allKinds(writes(""))), func(s *site) {
		s.trigger("deploy", map[string][]string{"BRANCH": {"old"}, "STAGE": {"prod"}, "KEY": {"typed!"}})
		def, err := definition.Compile(jobs(at("deploy", writes(""),
			job.Param{Name: "STAGE", Kind: job.KindChoice, Choices: []string{"test", "live"}},
			job.Param{Name: "KEY", Kind: job.KindString, Default: "open", Link: "https://git.test/{value}"},
			job.Param{Name: "NOTES", Kind: job.KindPassword},
			job.Param{Name: "NEW", Kind: job.KindString, Default: "fresh"})))
		if err != nil {
			s.Fatal(err)
		}
		s.pages = pagesOf(s.ctl, def, zap.NewNop())
		page := s.page("/job/deploy/?like=1")
		s.holds(page, `<option value="test" selected>`, "What the build had is no longer a choice.",
			`name="KEY" value="open"`, `name="NEW" value="fresh"`)
		s.lacks(page, `name="BRANCH"`, "typed!", " required")
		s.lacks(s.page("/job/deploy/1/"), "https://git.test")
	})
}

// Numbers of more than one digit are written in base ten.
func TestNumbersOfTwoDigits(t *testing.T) {
	lines := strings.Repeat("a line\n", 25)
	onSite(t, jobs(allKinds(writes(lines)), at("stays", hangs("on\n"))), func(s *site) {
		for range 23 {
			s.trigger("deploy", nil)
		}
		id := s.trigger("stays", nil)
		if id != 24 {
			s.Fatalf("the item is %d, want 24", id)
		}
		s.holds(s.page("/job/deploy/23/"), `<a class="button" href="/ci/job/deploy/?like=23">Build again…</a>`, "#23", `data-n="25"`, `download="deploy-23.log"`)
		s.holds(s.page("/job/deploy/?like=23"), "With the values of build #23.")
		s.holds(s.page("/rssAll"), "deploy #23 Success")
		s.holds(s.page("/job/deploy/"), `/job/deploy/23/`, `/job/deploy/12/`)
		w := s.post("/job/deploy/buildForm", "alice", url.Values{"again-of": {"23"}, "STAGE": {"dev"}, "KEY": {""}})
		if want := "queue/item/25/"; !strings.Contains(w.Header().Get("Location"), want) {
			s.Errorf("Location = %q, want %q", w.Header().Get("Location"), want)
		}
		s.settle()
		s.holds(s.page("/job/deploy/24/"), `again, of #23`)
	})
}

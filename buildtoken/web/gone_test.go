package web_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
)

// Items of a job that no server has any more are listed, and users with the right to cancel for
// a job of that name can cancel them.
func TestItemsOfAJobThatIsGone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newScenario(t, dir, 1000, throttle.Limit{Max: -1})
		defer s.close()
		for _, a := range []string{"1", "2"} {
			if x := s.ask(http.MethodPost, "/buildByToken/buildWithParameters?job=params&token=TacoTuesday&delay=1h&A="+a, nil); x.Code != http.StatusCreated {
				t.Fatalf("trigger: %d %s", x.Code, x.Body)
			}
		}
		without, err := definition.Compile(definition.Spec{
			Access: definition.Access{Read: `true`, Cancel: `job.name == "params"`},
			Root:   definition.Folder{Jobs: []definition.Job{{Name: "other", Runner: s.runner}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.attach(buildtoken.Config{Sites: []*definition.Site{without}})
		s.api.Definition = without
		for _, step := range []struct {
			method, target string
			status         int
			holds          []string
		}{
			{http.MethodGet, "/queue/api/json?tree=items[id,stuck,task[name,url]]", http.StatusOK, []string{`"id":1`, `"id":2`, `"stuck":true`, `"name":"params"`, `/job/params/"`}},
			{http.MethodGet, "/queue/item/1/api/json", http.StatusOK, []string{"No server has this job", `"name":"params"`}},
			{http.MethodPost, "/queue/cancelItem?id=1", http.StatusNoContent, nil},
			{http.MethodGet, "/queue/api/json?tree=items[id]", http.StatusOK, []string{`"items":[{"_class":"hudson.model.Queue$BlockedItem","id":2}]`}},
		} {
			x := s.ask(step.method, step.target, nil)
			if x.Code != step.status {
				t.Errorf("%s %s = %d %s, want %d", step.method, step.target, x.Code, x.Body, step.status)
			}
			for _, text := range step.holds {
				if !strings.Contains(x.Body.String(), text) {
					t.Errorf("%s %s: %s does not contain %s", step.method, step.target, x.Body, text)
				}
			}
		}
	})
}

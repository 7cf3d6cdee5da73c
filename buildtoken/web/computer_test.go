package web_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// faraway is a runner whose builds take no executor.
type faraway struct{ *puppets }

func (faraway) Remote() {}

// TestComputer reads what a named server runs. Remote builds take no executor, executors that were
// taken away stay until their builds end, and hidden builds show neither name nor progress.
func TestComputer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: db, Dir: dir, SealKey: vault.Key{}, Node: "runner-7"})
		if err != nil {
			t.Fatal(err)
		}
		near, far := &puppets{running: map[string]*puppet{}}, &puppets{running: map[string]*puppet{}}
		none := new(time.Duration)
		site, err := definition.Compile(definition.Spec{
			Access: definition.Access{Read: `job.name != "hidden"`, Build: "true"},
			Root: definition.Folder{Jobs: []definition.Job{
				{Name: "near", Runner: near, Concurrent: true, Settings: job.Settings{QuietPeriod: none}},
				{Name: "hidden", Runner: near, Settings: job.Settings{QuietPeriod: none}},
				{Name: "far", Runner: faraway{far}, Settings: job.Settings{QuietPeriod: none}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		attach := func(executors int) (detach func()) {
			detach, err := ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{site}, Executors: executors})
			if err != nil {
				t.Fatal(err)
			}
			return detach
		}
		detach := attach(3)
		api := api{&web.Site{
			Open: func() (*buildtoken.Controller, error) { return ctl, nil }, Definition: site,
			Root: func(*http.Request) string { return root }, User: func(*http.Request) string { return "alice" },
		}}
		send := func(method, target string) (int, string) {
			w := httptest.NewRecorder()
			api.Serve(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
			synctest.Wait()
			return w.Code, w.Body.String()
		}
		start := func(jobs ...string) {
			for _, name := range jobs {
				if status, text := send(http.MethodPost, "/job/"+name+"/build"); status != http.StatusCreated {
					t.Fatalf("trigger of %s: %d %s", name, status, text)
				}
			}
		}
		// shows requests a selection of one server.
		shows := func(state, tree, want string) {
			_, got := send(http.MethodGet, "/computer/runner-7/api/json?tree="+tree)
			got = strings.ReplaceAll(strings.ReplaceAll(got, `"_class":"hudson.model.FreeStyleBuild",`, ""), `"_class":"hudson.model.Hudson$MasterComputer",`, "")
			if diff := cmp.Diff(want+"\n", got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", state, diff)
			}
		}
		const counts = "/computer/api/json?tree=busyExecutors,totalExecutors"
		counted := func(state, want string) {
			if _, got := send(http.MethodGet, counts); !strings.HasSuffix(got, want+"}\n") {
				t.Errorf("%s: %s, want %s", state, got, want)
			}
		}

		for name, want := range map[string]int{
			"runner-7": http.StatusOK, "(built-in)": http.StatusOK, "(master)": http.StatusOK, "Built-In Node": http.StatusNotFound, "built-in": http.StatusNotFound, "runner": http.StatusNotFound,
		} {
			if status, text := send(http.MethodGet, "/computer/"+strings.ReplaceAll(name, " ", "%20")+"/api/json?tree=displayName"); status != want || want == http.StatusOK && !strings.Contains(text, `"displayName":"runner-7"`) {
				t.Errorf("node %q: %d %s, want %d", name, status, text, want)
			}
		}
		shows("nothing runs", "idle,numExecutors,executors[idle,number,progress,currentExecutable],oneOffExecutors", `{"executors":[`+
			`{"currentExecutable":null,"idle":true,"number":0,"progress":-1},{"currentExecutable":null,"idle":true,"number":1,"progress":-1},{"currentExecutable":null,"idle":true,"number":2,"progress":-1}],`+
			`"idle":true,"numExecutors":3,"oneOffExecutors":[]}`)
		counted("nothing runs", `"busyExecutors":0,"totalExecutors":3`)

		start("far")
		shows("a remote build", "idle,executors[idle],oneOffExecutors[idle,number,currentExecutable[fullDisplayName]]",
			`{"executors":[{"idle":true},{"idle":true},{"idle":true}],"idle":true,"oneOffExecutors":[{"currentExecutable":{"fullDisplayName":"far #1"},"idle":false,"number":0}]}`)
		shows("more of a build than its executor shows", "oneOffExecutors[currentExecutable[building,number,queueId]]", `{"oneOffExecutors":[{"currentExecutable":{"building":true,"number":1,"queueId":1}}]}`)
		start("near", "hidden") // how long they take is known later
		time.Sleep(100 * time.Second)
		near.finishAll()
		synctest.Wait()

		start("near", "hidden", "near")
		detach()
		detach = attach(1)
		time.Sleep(60*time.Second + 500*time.Millisecond)
		const running = "idle,numExecutors,executors[number,progress,currentExecutable[fullDisplayName]]"
		shows("more builds than executors", running, `{"executors":[`+
			`{"currentExecutable":{"fullDisplayName":"near #2"},"number":0,"progress":60},{"currentExecutable":null,"number":1,"progress":-1},`+
			`{"currentExecutable":{"fullDisplayName":"near #3"},"number":2,"progress":60}],"idle":false,"numExecutors":1}`)
		counted("more builds than executors", `"busyExecutors":3,"totalExecutors":3`)
		time.Sleep(100 * time.Second)
		shows("builds that take longer than expected", "executors[progress]", `{"executors":[{"progress":99},{"progress":-1},{"progress":99}]}`)

		near.finishAll()
		far.finishAll()
		synctest.Wait()
		shows("all have ended", running, `{"executors":[{"currentExecutable":null,"number":0,"progress":-1}],"idle":true,"numExecutors":1}`)
		detach()
		if err := ctl.Close(); err != nil {
			t.Error(err)
		}
		shows("the server has stopped", "offline", `{"offline":true}`)
	})
}

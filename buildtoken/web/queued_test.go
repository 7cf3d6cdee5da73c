package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// The list of a long queue costs no more than what it shows, and tells how long the queue is.
func TestListOfALongQueueReadsOnlyWhatItShows(t *testing.T) {
	for _, tt := range []struct {
		name, user, total string
		more, most        int64
		items             int
	}{
		{"a short queue", "reader", "", 0, 3, 3},
		{"a queue of which all is shown", "reader", "", 9_997, 10_000, 3},
		{"an item more", "reader", "10001", 9_998, 10_000, 3},
		{"a long queue", "reader", "50003", 50_000, 10_000, 3},
		{"a reader who may see nothing of it", "builder", "", 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				s.api.Definition = s.define(`user == "reader" || job.name == "plain"`)
				for _, a := range []string{"1", "2", "3"} {
					if x := s.ask(http.MethodPost, "/buildByToken/buildWithParameters?job=params&token=TacoTuesday&A="+a, nil); x.Code != http.StatusCreated {
						t.Fatalf("trigger: %d %s", x.Code, x.Body)
					}
				}
				s.user = tt.user
				s.queue.more.Store(tt.more)
				s.queue.most.Store(0)
				x := s.ask(http.MethodGet, "/queue/api/json?tree=items[id]", nil)
				if n := strings.Count(x.Body.String(), `"id":`); x.Code != http.StatusOK || n != tt.items || x.Header().Get("X-Total-Count") != tt.total {
					t.Errorf("%d with %d items, X-Total-Count %q; want %d, %q: %s", x.Code, n, x.Header().Get("X-Total-Count"), tt.items, tt.total, x.Body)
				}
				if most := s.queue.most.Load(); most > tt.most {
					t.Errorf("%d items were read at once, want at most %d", most, tt.most)
				}
			})
		})
	}
}

// Items that may not be read take no place from those behind them.
func TestHiddenItemsInFrontOfOthers(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.send(s.request([]string{"POST /buildByToken/build?job=secret&token=Hush&delay=1h"}))
		s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=2h"}))
		s.user = "reader"
		if x := s.send(s.request([]string{"GET /queue/api/json?tree=items[id]"})); !strings.HasSuffix(x.body(), `"id":2}]}`+"\n") {
			t.Errorf("the queue: %d %s, want item 2", x.Code, x.body())
		}
	})
}

// What a job or the queue shows of its items costs one item, and one build for all that wait for it.
func TestItemsReadOnlyWhatTheyShow(t *testing.T) {
	bubble(t, func(s *scenario) {
		s.user = "reader"
		build := func(values string) {
			s.send(s.request([]string{"POST /buildByToken/buildWithParameters?job=params&token=TacoTuesday&delay=0&A=" + values}))
			synctest.Wait()
		}
		for _, value := range []string{"1", "2"} { // so that it is known how long a build takes
			build(value)
			s.direct("advance 100s")
			s.runner.finishAll()
			synctest.Wait()
		}
		for _, value := range []string{"1", "2", "3", "4"} {
			build(value)
			s.direct("advance 1s")
		}
		for path, want := range map[string]struct {
			shows        string
			times        int
			most, single int64
		}{
			"/api/json?tree=jobs":                     {`{"_class":"hudson.model.FreeStyleProject"}`, 9, 0, 0},
			"/job/params/api/json?tree=queueItem[id]": {`"id":`, 1, 1, 1},
			"/queue/api/json?tree=items[why]":         {"Build #3 is already in progress (ETA: 1 min 36 sec)", 3, 100, 1},
		} {
			s.queue.most.Store(0)
			s.queue.single.Store(0)
			x := s.send(s.request([]string{"GET " + path}))
			if n := strings.Count(x.body(), want.shows); x.Code != http.StatusOK || n != want.times {
				t.Errorf("%s = %d %s, want %q %d times", path, x.Code, x.body(), want.shows, want.times)
			}
			if most, single := s.queue.most.Load(), s.queue.single.Load(); most > want.most || single != want.single {
				t.Errorf("%s reads %d items at once and %d builds, want at most %d and %d", path, most, single, want.most, want.single)
			}
		}
	})
}

// Summaries of the jobs of one folder are read at once, and those of no job twice.
func TestSummariesAreReadOnce(t *testing.T) {
	jobs := func(names ...string) (all []definition.Job) {
		for _, name := range names {
			all = append(all, definition.Job{Name: name, Runner: &puppets{}})
		}
		return all
	}
	site, err := definition.Compile(definition.Spec{
		Access: definition.Access{Read: "true"},
		Root: definition.Folder{Folders: []definition.Folder{
			{Name: "one", Jobs: jobs("a", "b", "c", "d", "e", "f")}, {Name: "two", Jobs: jobs("a", "b")}, {Name: "three", Jobs: jobs("a", "b")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	bubble(t, func(s *scenario) {
		s.attach(buildtoken.Config{Sites: []*definition.Site{site}})
		s.api.Definition = site
		x := s.send(s.request([]string{"GET /api/json?tree=jobs[jobs[lastBuild[number]]]"}))
		if n := strings.Count(x.body(), `"lastBuild":null`); x.Code != http.StatusOK || n != 10 {
			t.Errorf("%d %s, want 10 jobs without a build", x.Code, x.body())
		}
		// The job whose summary is needed first is read with the others and for itself.
		if n, of := s.queue.summaries.Load(), s.queue.summarized.Load(); n != 3 || of > 10+3 {
			t.Errorf("%d times summaries of %d jobs were read, want once for each of 3 folders", n, of)
		}
	})
}

// A list of jobs reads the history of none of them, and only those builds of which more than the
// number is shown. Summaries are read once for all jobs.
func TestListOfJobsReadsNoHistory(t *testing.T) {
	for _, tt := range []struct {
		tree, shows        string
		history, summaries int64
	}{
		{"jobs[name,color]", `"color":"blue"`, 0, 0},
		{"jobs[name,lastBuild[number]]", `"lastBuild":{"_class":"hudson.model.FreeStyleBuild","number":3}`, 0, 1},
		{"jobs[name,lastBuild[number,result]]", `"number":3,"result":"SUCCESS"`, 1, 1},
		{"jobs[name,lastFailedBuild[number],firstBuild[number]]", `"lastFailedBuild":null`, 0, 1},
		{"jobs[builds[number]]", `"number":2`, 3, 0},
	} {
		bubble(t, func(s *scenario) {
			s.api.Definition = s.define(`user == "reader"`)
			for n := range 3 {
				if x := s.ask(http.MethodPost, "/buildByToken/build?job=plain&token=TacoTuesday", nil); x.Code != http.StatusCreated {
					t.Fatalf("trigger: %d %s", x.Code, x.Body)
				}
				s.direct("advance 5s")
				s.direct(fmt.Sprintf("finish plain#%d SUCCESS", n+1))
			}
			s.user = "reader"
			s.queue.history.Store(0)
			s.queue.summaries.Store(0)
			x := s.ask(http.MethodGet, "/api/json?tree="+tt.tree, nil)
			if x.Code != http.StatusOK || !strings.Contains(x.Body.String(), tt.shows) {
				t.Errorf("%s: %d %s, want %s", tt.tree, x.Code, x.Body, tt.shows)
			}
			if h, n := s.queue.history.Load(), s.queue.summaries.Load(); h != tt.history || n != tt.summaries {
				t.Errorf("%s: %d builds of the history and %d times summaries were read, want %d and %d", tt.tree, h, n, tt.history, tt.summaries)
			}
		})
	}
}

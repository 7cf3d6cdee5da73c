package web_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/internal/filetest"
)

// No request of a program leaves a log open.
func TestLogsAreClosed(t *testing.T) {
	bubble(t, func(s *scenario) {
		shared := s.shared() // item 1
		synctest.Wait()
		s.direct("finish plain#1 SUCCESS")
		s.user = "reader"
		for _, path := range []string{
			"/buildByToken/log?job=plain&token=LookAtMe&item=1", "/job/plain/1/consoleText", "/job/plain/1/logText/progressiveText",
			shared, shared + "/log",
		} {
			if x := s.ask(http.MethodGet, path, http.Header{"Accept": {"text/html"}}); x.Code != http.StatusOK {
				t.Errorf("GET %s: %d %s", path, x.Code, x.body())
			}
			if open := filetest.Open(t, filepath.Join(s.dir, "logs")); len(open) > 0 {
				t.Errorf("after GET %s, %s is open", path, open)
			}
		}
	})
}

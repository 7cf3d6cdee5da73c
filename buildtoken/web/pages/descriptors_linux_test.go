package pages_test

import (
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/internal/filetest"
)

// No request leaves a log open.
func TestLogsAreClosed(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		for _, path := range []string{
			"/job/hello/1/", "/job/hello/1/console", "/job/hello/1/?q=hello", "/job/hello/1/?at=999", "/job/hello/1/?find=error",
			"/queue/-/log/job/hello/1", "/queue/-/events/job/hello/1/?start=0",
		} {
			s.get(path, "alice")
			if open := filetest.Open(s, filepath.Join(s.dir, "logs")); len(open) > 0 {
				s.Errorf("after GET %s, %s is open", path, open)
			}
		}
	})
}

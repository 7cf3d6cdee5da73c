package pages_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
			if open := openIn(s, filepath.Join(s.dir, "logs")); len(open) > 0 {
				s.Errorf("after GET %s, %s is open", path, open)
			}
		}
	})
}

// openIn returns the files below a folder that this process has open.
func openIn(s *site, dir string) []string {
	s.Helper()
	const fds = "/proc/self/fd"
	all, err := os.ReadDir(fds)
	if err != nil {
		s.Fatal(err)
	}
	var open []string
	for _, fd := range all {
		// The one of ReadDir itself is closed meanwhile.
		if name, err := os.Readlink(filepath.Join(fds, fd.Name())); err == nil && strings.HasPrefix(name, dir) {
			open = append(open, name)
		}
	}
	return open
}

package pages_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
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

// No request leaves an upload open.
func TestUploadsAreClosed(t *testing.T) {
	spec := jobs(at("up", writes(""), job.Param{Name: "F", Kind: job.KindFile}))
	spec.Root.Allow = []policy.Rule{{Source: `user != "alice"`}}
	onSite(t, spec, func(s *site) {
		before := filetest.Open(s, s.dir)
		if w := s.upload(nil, file{"F", "big", strings.Repeat("x", 8<<20)}); w.Code != http.StatusForbidden {
			s.Fatalf("upload = %d, want 403", w.Code)
		}
		if after := filetest.Open(s, s.dir); len(after) > len(before) {
			s.Errorf("after a refused upload, %s are open", after)
		}
	})
}

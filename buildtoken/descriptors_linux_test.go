package buildtoken_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/internal/filetest"
)

// A log is closed after its end was read for a notification.
func TestNotificationsCloseTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		s := openSite(t, buildtoken.Config{}, notified("deploy", &in))
		s.triggerNow("deploy")
		quiet()
		if len(in.events) != 1 || in.events[0].Log == "" {
			t.Errorf("%d events, want one with a log", len(in.events))
		}
		if open := filetest.Open(t, filepath.Join(s.dir, "logs")); len(open) > 0 {
			t.Errorf("%v are open", open)
		}
	})
}

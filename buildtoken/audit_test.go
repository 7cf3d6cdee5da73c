package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Builds that no request started are in the audit log too.
func TestAuditOfTheServersOwnBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		polled := definition.Job{
			Name: "polled", Tokens: opens(), Runner: succeeds(),
			Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil }),
		}
		s := openSite(t, buildtoken.Config{Audit: zap.New(core)}, hourly(nil), polled)
		if _, err := s.Trigger(t.Context(), s.def, ask("polled", func(t *buildtoken.Trigger) { t.Action = buildtoken.Polling })); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		var got []string
		for _, l := range lines.All() {
			m := l.ContextMap()
			got = append(got, fmt.Sprint(l.Message, " ", m["action"], " ", m["job"], " ", m["who"], " ", m["item"]))
		}
		want := []string{"accepted polling polled token default <nil>", "accepted change polled poll 1", "accepted schedule nightly timer 2"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

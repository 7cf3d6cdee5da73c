package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// The audit log also contains builds that no request started.
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

// BenchmarkAudit measures a trigger that joins an item, without an audit log and with one that
// is written to a file.
func BenchmarkAudit(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	on := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(file), zap.InfoLevel))
	for name, log := range map[string]*zap.Logger{"off": nil, "file": on} {
		b.Run(name, func(b *testing.B) {
			s := openSite(b, buildtoken.Config{Audit: log}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
			joins := ask("app", delayed("24h"))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Trigger(b.Context(), s.def, joins); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
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

// A schedule for which there is no room in the queue is refused.
func TestAuditOfASchedulesRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		s := openSite(t, buildtoken.Config{Audit: zap.New(core), QueueLimit: 1}, hourly(nil), definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		s.trigger("app", delayed("90m"))
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		refused := lines.FilterMessage("refused").All()
		if len(refused) != 1 {
			t.Fatalf("lines = %v, want one about a refusal", lines.All())
		}
		m := refused[0].ContextMap()
		if got, want := fmt.Sprint(m["action"], " ", m["job"], " ", m["who"], " ", m["reason"]), "schedule nightly timer "+queue.ErrFull.Error(); !strings.HasPrefix(got, want) {
			t.Errorf("line = %q, want %q", got, want)
		}
	})
}

// Each trigger has a line with who sent it and what became of it.
func TestAuditOfTriggers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		s := openSite(t, buildtoken.Config{Audit: zap.New(core)})
		s.attach(definition.Spec{
			Access: definition.Access{Build: `user == "alice"`},
			Root:   definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}},
		})
		key := func(text string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) { t.IdempotencyKey, t.Delay = &text, new("1h") }
		}
		from := func(t *buildtoken.Trigger) { t.Remote = netip.MustParseAddr("192.0.2.7") }
		user := func(t *buildtoken.Trigger) {
			t.Secret, t.Presented, t.User, t.Post = token.Secret{}, false, "alice", true
		}
		webhook := func(t *buildtoken.Trigger) { t.Secret, t.Presented, t.Webhook = token.Secret{}, false, "github" }
		operator := func(t *buildtoken.Trigger) {
			t.Secret, t.Presented, t.Operator, t.User = token.Secret{}, false, true, "operator"
		}
		wrong := func(t *buildtoken.Trigger) { t.Secret = token.NewSecret("WrongGuess77") }
		for _, tt := range []struct {
			name   string
			change []func(*buildtoken.Trigger)
			want   string
		}{
			{"a token", []func(*buildtoken.Trigger){from, key("k")}, "accepted build app token default 192.0.2.7 item=1"},
			{"the same once more", []func(*buildtoken.Trigger){from, key("k")}, "repeated build app token default 192.0.2.7 item=1"},
			{"another one that joins", []func(*buildtoken.Trigger){key("l")}, "joined build app token default  item=1"},
			{"the key of a user is another one", []func(*buildtoken.Trigger){user, key("k")}, "joined build app user alice  item=1 rule=access build"},
			{"that of a webhook, too", []func(*buildtoken.Trigger){webhook, key("k")}, "joined webhook app webhook github  item=1"},
			{"a delivery once more", []func(*buildtoken.Trigger){webhook, key("k")}, "repeated webhook app webhook github  item=1"},
			{"the operator", []func(*buildtoken.Trigger){operator, key("m")}, "joined build app user operator  item=1"},
			{"a user who may not", []func(*buildtoken.Trigger){user, func(t *buildtoken.Trigger) { t.User = "bob" }}, "refused build app user bob  rule=access build reason=token: missing"},
			{"a wrong token", []func(*buildtoken.Trigger){wrong, from}, "refused build app anonymous 192.0.2.7 reason=token: mismatch"},
			{"no such job", []func(*buildtoken.Trigger){func(t *buildtoken.Trigger) { t.Job = "none" }}, "refused build none anonymous  reason=buildtoken: unknown job"},
		} {
			lines.TakeAll()
			_, _ = s.Trigger(t.Context(), s.def, ask("app", tt.change...)) // the line has what became of it
			all := lines.All()
			if len(all) != 1 {
				t.Errorf("%s: %d lines, want one", tt.name, len(all))
				continue
			}
			m := all[0].ContextMap()
			got := fmt.Sprint(all[0].Message, " ", m["action"], " ", m["job"], " ", m["who"], " ", m["remote"])
			for _, field := range []string{"item", "rule", "reason"} {
				if value, ok := m[field]; ok {
					got += fmt.Sprint(" ", field, "=", value)
				}
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
	})
}

// What callers that are known sent is remembered, the oldest first. What guesses sent is not.
func TestDecisionsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Allow: rulesOf(`params.ENV != "prod"`),
			Params: []job.Param{{Name: "ENV", Kind: job.KindString}, {Name: "PIN", Kind: job.KindPassword}, {Name: "FILE", Kind: job.KindFile}},
		})
		s.trigger("app", values("ENV", "test", "PIN", "4711", "OTHER", "x"), func(t *buildtoken.Trigger) {
			t.Remote = netip.MustParseAddr("192.0.2.7")
			t.Files = map[string]definition.Upload{"FILE": {Name: "a.txt", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil }}}
		})
		s.refused(definition.ErrUnknownJob, ask("none"))
		s.refused(token.ErrMismatch, ask("app", func(t *buildtoken.Trigger) { t.Secret = token.NewSecret("WrongGuess77") }))
		if _, err := s.Trigger(t.Context(), s.def, ask("app", values("ENV", "prod"))); err == nil {
			t.Error("a trigger that a rule forbids was accepted")
		}
		s.trigger("app", values("ENV", "a", "FILE", "b"), func(t *buildtoken.Trigger) { t.Files = map[string]definition.Upload{"PIN": {Name: "c"}} })
		delay := "0"
		want := []audit.Trigger{
			{
				Time: time.Now(), Job: "app", Action: "buildWithParameters", Token: "default", Place: "app", Remote: netip.MustParseAddr("192.0.2.7"), Delay: &delay, Admitted: true,
				Params: []audit.Param{{Name: "ENV", Value: "test"}, {Name: "PIN", Hidden: true}, {Name: "FILE", Value: "a.txt", File: true}},
			},
			{
				Time: time.Now(), Job: "app", Action: "buildWithParameters", Token: "default", Place: "app", Delay: &delay, Check: string(definition.CheckRule), Rule: "app allow 1",
				Params: []audit.Param{{Name: "ENV", Value: "prod"}},
			},
			{ // a text for a file, and a file for a text, do not count
				Time: time.Now(), Job: "app", Action: "buildWithParameters", Token: "default", Place: "app", Delay: &delay, Admitted: true,
				Params: []audit.Param{{Name: "ENV", Value: "a"}},
			},
		}
		if diff := cmp.Diff(want, s.Decisions(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("Decisions (-want +got):\n%s", diff)
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

package buildtoken_test

import (
	"errors"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// FuzzTrigger verifies that no text in a request opens a job without the right token, and that
// an accepted item has the requested values.
func FuzzTrigger(f *testing.F) {
	params := []job.Param{{Name: "S", Kind: job.KindString}, {Name: "B", Kind: job.KindBoolean}, {Name: "C", Kind: job.KindChoice, Choices: []string{"a", "b"}}}
	s := openSite(f, buildtoken.Config{WrongTokens: throttle.Limit{Max: -1}},
		definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Params: params},
		definition.Job{Name: "plain", Tokens: opens(), Runner: succeeds(), Allow: rulesOf(`size(cause) < 10 || delay < duration("1h")`)},
		definition.Job{Name: "tokenless", Runner: succeeds()})
	f.Add("app", secret, "buildWithParameters", "5sec", "push", "x", "true", "a", true)
	f.Add("/plain/", secret, "build", "-1", "a\nb", "", "", "", true)
	f.Add("tokenless", secret, "build", "0", "", "", "", "", true)
	f.Add("nowhere", "", "polling", "soon", "\xff", "\x00", "maybe", "c", false)
	f.Add("app", "wrong", "build", "9223372036854775807", "", "", "", "", true)
	f.Fuzz(func(t *testing.T, full, shown, action, delay, cause, text, boolean, choice string, presented bool) {
		trigger := buildtoken.Trigger{
			Caller: definition.Caller{Secret: token.NewSecret(shown), Presented: presented},
			Action: buildtoken.Action(action), Job: full, Delay: &delay, Cause: &cause,
			Values: map[string][]string{"S": {text}, "B": {boolean}, "C": {choice}},
		}
		out, err := s.Trigger(t.Context(), s.def, trigger)
		if err != nil {
			if out.Item.ID != 0 || out.Job != "" {
				t.Errorf("Trigger = item %d and %v", out.Item.ID, err)
			}
			return
		}
		if shown != secret || !presented {
			t.Fatalf("Trigger(%q) was accepted with the token %q", full, shown)
		}
		if out.Job != "app" && out.Job != "plain" || out.Item.Job != out.Job || out.Item.ID == 0 {
			t.Errorf("Trigger(%q) = %+v", full, out)
		}
		if wait := out.Item.Due.Sub(out.Item.Since); wait < 0 || wait > job.MaxDelay {
			t.Errorf("delay %q: due after %v", delay, wait)
		}
		if err := s.Cancel(t.Context(), out.Job, out.Item.ID, "user fuzz"); err != nil && !errors.Is(err, queue.ErrLeft) {
			t.Errorf("Cancel = %v", err)
		}
	})
}

func BenchmarkTrigger(b *testing.B) {
	for _, bm := range []struct {
		name    string
		callers int
		trigger func(n int64) buildtoken.Trigger
		want    error
	}{
		{"refused", 1, func(n int64) buildtoken.Trigger {
			return ask("app", func(t *buildtoken.Trigger) {
				t.Secret, t.Remote = token.NewSecret("wrong"), netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
			})
		}, token.ErrMismatch},
		{"joined", 1, func(int64) buildtoken.Trigger { return ask("app", delayed("24h")) }, nil},
		{"joined", 64, func(int64) buildtoken.Trigger { return ask("app", delayed("24h")) }, nil},
		{"new", 1, func(n int64) buildtoken.Trigger {
			return ask("params", values("S", strconv.FormatInt(n, 10)), delayed("24h"))
		}, nil},
		{"new", 64, func(n int64) buildtoken.Trigger {
			return ask("params", values("S", strconv.FormatInt(n, 10)), delayed("24h"))
		}, nil},
	} {
		b.Run(bm.name+"/callers="+strconv.Itoa(bm.callers), func(b *testing.B) {
			s := openSite(b, buildtoken.Config{QueueLimit: 100_000_000},
				definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Allow: rulesOf(`request.method != "PUT" && token.name == "default"`)},
				definition.Job{Name: "params", Tokens: opens(), Runner: succeeds(), Params: stringParams("S")})
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(bm.callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Trigger(b.Context(), s.def, bm.trigger(n.Add(1))); !errors.Is(err, bm.want) {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

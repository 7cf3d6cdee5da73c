package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// used lists the tokens without their times.
func (s *site) used() []string {
	s.t.Helper()
	var all []string
	uses, err := s.Tokens(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range uses {
		if u.Token.Digest != (token.Digest{}) {
			s.t.Errorf("the digest of %s is shown", u.Token.Name)
		}
		line := fmt.Sprintf("%q %s (%s) %d+%d %v", u.Place, u.Name, u.Token.Grants, u.Uses, u.Dead, u.From)
		if u.Removed {
			line += " removed"
		}
		all = append(all, line)
	}
	return all
}

func TestUsesOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soon := definition.Token{Name: "soon", Digest: token.NewSecret("Soon88").Digest(), Expires: time.Now().Add(time.Hour)}
		s := openSite(t, buildtoken.Config{})
		app := definition.Job{Name: "app", Tokens: []definition.Token{soon}, Runner: succeeds()}
		other := definition.Job{Name: "other", Tokens: opens(token.Status), Runner: succeeds()}
		spec := definition.Spec{Root: definition.Folder{
			Tokens: opens(token.Trigger, token.Status), Folders: []definition.Folder{{Name: "team", Tokens: opens(), Jobs: []definition.Job{app}}}, Jobs: []definition.Job{other},
		}}
		s.attach(spec)
		show := func(full, text string, last byte) {
			_, _ = s.Trigger(t.Context(), s.def, ask(full, func(t *buildtoken.Trigger) {
				t.Secret, t.Remote = token.NewSecret(text), netip.AddrFrom4([4]byte{192, 0, 2, last})
			}))
		}
		for _, last := range []byte{1, 2, 3, 2, 4, 5, 6} {
			show("team/app", secret, last)
		}
		show("other", secret, 1) // no grant, but the token was presented
		show("team/app", "WrongGuess77", 9)
		show("nowhere", secret, 9)
		show("team/app", "Soon88", 7)
		want := []string{
			`"" default (trigger status) 0+0 []`,
			`"other" default (status) 1+0 [192.0.2.1]`,
			`"team/" default (trigger) 7+0 [192.0.2.6 192.0.2.5 192.0.2.4 192.0.2.2 192.0.2.3]`,
			`"team/app" soon (trigger) 1+0 [192.0.2.7]`,
		}
		if diff := cmp.Diff(want, s.used()); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}

		// After it has expired it opens no job, and a warning is logged once a minute.
		began := time.Now()
		time.Sleep(time.Hour)
		for range 3 {
			show("team/app", "Soon88", 8)
			time.Sleep(29 * time.Second)
		}
		show("team/app", "Soon88", 8)
		if n := s.logs.FilterMessage("a token that has expired is still shown").Len(); n != 2 {
			t.Errorf("%d warnings in 87 seconds, want 2", n)
		}
		want[3] = `"team/app" soon (trigger) 1+4 [192.0.2.8 192.0.2.7]`
		if diff := cmp.Diff(want, s.used()); diff != "" {
			t.Errorf("after expiry (-want +got):\n%s", diff)
		}
		uses, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if last := uses[3]; !last.First.Equal(began) || last.Last.Sub(began) != time.Hour+87*time.Second {
			t.Errorf("first use %v, last use %v", last.First, last.Last)
		}

		spec.Root.Folders[0].Jobs[0].Tokens = opens()
		s.attach(spec)
		want = append(want[:3:3], `"team/app" default (trigger) 0+0 []`, want[3]+" removed")
		if diff := cmp.Diff(want, s.used()); diff != "" {
			t.Errorf("after a reload (-want +got):\n%s", diff)
		}
		s.refused(token.ErrMismatch, ask("team/app", func(t *buildtoken.Trigger) { t.Secret = token.NewSecret("Removed33") }))
		spec.Root.Folders[0].Jobs[0].Tokens = []definition.Token{{Name: "leaves", Digest: token.NewSecret("Removed33").Digest()}}
		s.attach(spec)
		spec.Root.Folders[0].Jobs[0].Tokens = nil
		s.attach(spec)
		s.refused(token.ErrMismatch, ask("team/app", func(t *buildtoken.Trigger) { t.Secret = token.NewSecret("Removed33") }))
		want = append(want[:3:3], `"team/app" leaves () 0+1 [] removed`, want[4])
		if diff := cmp.Diff(want, s.used()); diff != "" {
			t.Errorf("after it was removed (-want +got):\n%s", diff)
		}
		if n := s.logs.FilterMessage("a token that the last reload removed is still shown").Len(); n != 1 {
			t.Errorf("%d warnings of a removed token, want 1", n)
		}
	})
}

// savings is a queue that counts how often the uses of tokens are saved. While it is down, that fails.
type savings struct {
	buildtoken.Queue
	n    atomic.Int32
	down atomic.Bool
}

func (s *savings) SaveTokenUses(ctx context.Context, now time.Time, uses []queue.TokenUse) error {
	s.n.Add(1)
	if s.down.Load() {
		return queue.ErrStorage
	}
	return s.Queue.SaveTokenUses(ctx, now, uses)
}

// Uses of tokens survive a restart, and are saved at most once a minute.
func TestUsesOfTokensSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, key := t.TempDir(), vault.NewKey()
		open := func() (*site, *savings) {
			t.Helper()
			file, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db"), Commit: commitFast})
			if err != nil {
				t.Fatal(err)
			}
			q := &savings{Queue: file}
			ctl, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: key})
			if err != nil {
				t.Fatal(err)
			}
			s := &site{Controller: ctl, t: t}
			s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
			return s, q
		}
		s, q := open()
		show := func(last byte) {
			t.Helper()
			s.trigger("app", delayed("24h"), func(t *buildtoken.Trigger) { t.Remote = netip.AddrFrom4([4]byte{192, 0, 2, last}) })
		}
		began := time.Now()
		show(1)
		synctest.Wait()
		if q.n.Load() != 1 {
			t.Error("the first use is not saved at once")
		}
		for range 50 { // in the same minute
			time.Sleep(time.Second)
			show(2)
		}
		synctest.Wait()
		if n := q.n.Load(); n != 1 {
			t.Errorf("uses were saved %d times in a minute, want once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := q.n.Load(); n != 2 {
			t.Errorf("uses were saved %d times in two minutes, want twice", n)
		}
		show(3) // not saved before the controller closes
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = open()
		defer s.Close()
		if diff := cmp.Diff([]string{`"app" default (trigger) 52+0 [192.0.2.3 192.0.2.2 192.0.2.1]`}, s.used()); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
		show(4)
		all, err := s.Tokens(t.Context())
		if err != nil || len(all) != 1 || all[0].Uses != 53 || !all[0].First.Equal(began) {
			t.Errorf("Tokens = %+v, %v; want 53 uses, the first at %v", all, err, began)
		}
	})
}

func TestUsesOfTokensThatCannotBeSavedAreSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		var q *savings
		s.reopenShared(func(c cutOff) buildtoken.Queue {
			q = &savings{Queue: c}
			return q
		})
		q.down.Store(true)
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		s.trigger("app", delayed("24h"))
		synctest.Wait()
		if n := s.logs.FilterMessage("uses of tokens could not be saved; trying again").Len(); n != 1 {
			t.Errorf("%d log lines about uses that could not be saved, want 1", n)
		}
		q.down.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if saved, err := q.TokenUses(t.Context()); err != nil || len(saved) != 1 || saved[0].Uses != 1 {
			t.Errorf("saved uses %+v, %v; want one", saved, err)
		}
	})
}

// remembers is a shared queue with the uses of tokens on other servers.
type remembers struct {
	cutOff
	uses []queue.TokenUse
	down *atomic.Bool
}

func (q remembers) TokenUses(context.Context) ([]queue.TokenUse, error) {
	if q.down.Load() {
		return nil, queue.ErrStorage
	}
	return q.uses, nil
}

// Uses on other servers are added to those here.
func TestUsesOfTokensOnOtherServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue {
			elsewhere := func(name string, uses uint64) queue.TokenUse {
				return queue.TokenUse{Place: "app", Name: name, Uses: uses, First: start(), Last: start(), Elsewhere: true}
			}
			here := elsewhere("default", 5)
			here.Elsewhere = false // of an earlier process of this server
			return remembers{q, []queue.TokenUse{elsewhere("default", 20), here, elsewhere("old", 3)}, &down}
		})
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		s.trigger("app", delayed("1h"))
		want := []string{`"app" default (trigger) 26+0 []`, `"app" old () 3+0 [] removed`}
		if diff := cmp.Diff(want, s.used()); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}
		down.Store(true)
		if all, err := s.Tokens(t.Context()); !errors.Is(err, queue.ErrStorage) || all != nil {
			t.Errorf("Tokens = %v, %v; want %v", all, err, queue.ErrStorage)
		}
	})
}

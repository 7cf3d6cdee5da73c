package buildtoken_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// once sets the idempotency key of a trigger.
func once(key string) func(*buildtoken.Trigger) {
	return func(t *buildtoken.Trigger) { t.IdempotencyKey = &key }
}

func TestTriggerWithAKeyIsAnsweredAsTheFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		first := s.trigger("app", once("k"))
		synctest.Wait() // until it is built
		again := s.trigger("app", once("k"), delayed("1h"))
		if !first.Created || first.Repeated || again.Item.ID != first.Item.ID || !again.Created || !again.Repeated || again.Job != "app" {
			t.Errorf("first %+v, again %+v, want the same answer, repeated", first, again)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.open()
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		if again := s.trigger("app", once("k")); again.Item.ID != first.Item.ID || !again.Repeated {
			t.Errorf("after a restart %+v, want item %d, repeated", again, first.Item.ID)
		}
		if stats := s.Stats().Jobs; len(stats) != 1 || stats[0].Repeated != 1 || stats[0].Created+stats[0].Joined != 0 {
			t.Errorf("stats since the restart %+v, want one repeated trigger", stats)
		}
		time.Sleep(queue.KeepReceipts)
		if later := s.trigger("app", once("k")); later.Repeated || later.Item.ID == first.Item.ID {
			t.Errorf("a day later %+v, want a new item", later)
		}
	})
}

// The same key of another token or user, by chance or as a probe, gets a separate item.
func TestKeysAreOfOneTokenOrUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(name, text string) definition.Token {
			return definition.Token{Name: name, Digest: token.NewSecret(text).Digest()}
		}
		spec := definition.Spec{
			Access: definition.Access{Build: `true`},
			Root: definition.Folder{Tokens: []definition.Token{named("ci", "outer")}, Jobs: []definition.Job{
				{Name: "app", Runner: lasts(time.Hour), Coalesce: job.Never, Tokens: []definition.Token{named("ci", "inner"), named("alice", "other")}},
			}},
		}
		s := openSite(t, buildtoken.Config{})
		s.attach(spec)
		with := func(secret string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) { t.Secret = token.NewSecret(secret) }
		}
		as := func(user string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) { t.Caller = definition.Caller{User: user, Post: true} }
		}
		seen := map[int64]string{}
		for _, by := range []struct {
			name string
			who  func(*buildtoken.Trigger)
		}{
			{"the folder's token ci", with("outer")},
			{"the job's token ci", with("inner")},
			{"the token alice", with("other")},
			{"the user alice", as("alice")},
			{"the user bob", as("bob")},
		} {
			first := s.trigger("app", once("k"), by.who)
			if other, is := seen[first.Item.ID]; is || first.Repeated {
				t.Errorf("%s was given the answer to %s", by.name, other)
			}
			seen[first.Item.ID] = by.name
			if again := s.trigger("app", once("k"), by.who); again.Item.ID != first.Item.ID || !again.Repeated {
				t.Errorf("%s repeats the trigger and gets %+v, want item %d", by.name, again, first.Item.ID)
			}
		}
		// A token whose secret was replaced is still the same token.
		spec.Root.Jobs[0].Tokens[0].Digest = token.NewSecret("exchanged").Digest()
		s.attach(spec)
		if again := s.trigger("app", once("k"), with("exchanged")); !again.Repeated || seen[again.Item.ID] != "the job's token ci" {
			t.Errorf("after its secret was replaced, a token gets %+v, want its first answer", again)
		}
	})
}

func TestRepeatedTriggerLeavesNoFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "F", Kind: job.KindFile}, {Name: "G", Kind: job.KindFile}},
		})
		with := func(f, g string) func(*buildtoken.Trigger) {
			return func(t *buildtoken.Trigger) {
				t.Action = buildtoken.BuildWithParameters
				t.Delay = new("1h")
				t.Files = map[string]buildtoken.Upload{"F": upload("f", f), "G": upload("g", g)}
			}
		}
		first := s.trigger("app", once("k"), with("one", "two"))
		if again := s.trigger("app", once("k"), with("one", "two")); !again.Repeated || again.Item.ID != first.Item.ID {
			t.Errorf("with the same files %+v, want item %d, repeated", again, first.Item.ID)
		}
		s.refused(queue.ErrKeyReused, ask("app", once("k"), with("onet", "wo")))
		s.refused(queue.ErrKeyReused, ask("app", once("k"), with("two", "one")))
		if got := s.uploads(); len(got) != 2 {
			t.Errorf("%d files are stored, want the two of the item: %v", len(got), got)
		}
	})
}

func TestNoKeyIsOnDiskAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		const key = "a-key-of-a-client"
		s.trigger("app", once(key))
		s.trigger("app", once(key))
		synctest.Wait()
		read := 0
		err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			read++
			raw, err := os.ReadFile(path)
			if strings.Contains(string(raw), key) {
				t.Errorf("%s holds the key", path)
			}
			return err
		})
		if err != nil || read == 0 {
			t.Fatalf("%d files, %v", read, err)
		}
		for _, line := range s.logs.All() {
			if strings.Contains(line.Message, key) {
				t.Errorf("the log holds the key: %s", line.Message)
			}
			for name, value := range line.ContextMap() {
				if text, ok := value.(string); ok && strings.Contains(text, key) {
					t.Errorf("the log holds the key: %s=%s", name, text)
				}
			}
		}
	})
}

// A client that gives up during the first trigger and repeats it gets the same item.
func TestTriggerThatWasGivenUpIsFoundByItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Hour), Coalesce: job.Never})
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			_, _ = s.Trigger(ctx, s.def, ask("app", once("k"))) // with or without an error
		}
		out := s.trigger("app", once("k"))
		synctest.Wait()
		entries, err := s.Items(t.Context(), s.def, "app", 100)
		if err != nil || len(entries) != 0 || out.Item.ID != 1 {
			t.Errorf("item %d, %d items wait, %v; want one item that is built", out.Item.ID, len(entries), err)
		}
	})
}

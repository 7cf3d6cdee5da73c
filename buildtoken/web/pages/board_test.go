package pages_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// slowList is a queue that counts the lists of jobs that are read, and takes some time for each.
type slowList struct {
	buildtoken.Queue
	takes time.Duration
	lists atomic.Int64
	// lanes counts how often lanes were read for the navigation.
	lanes atomic.Int64
}

func (s *slowList) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	s.lanes.Add(1)
	return s.Queue.Lanes(ctx, jobs)
}

func (s *slowList) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	s.lanes.Add(1)
	return s.Queue.AllLanes(ctx)
}

func (s *slowList) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	s.lists.Add(1)
	time.Sleep(s.takes)
	return s.Queue.Overviews(ctx, jobs)
}

// Twenty open lists of jobs cost as much as one.
func TestListIsMadeOnceForAllWhoMaySeeTheSame(t *testing.T) {
	var q slowList
	spec := tree()
	spec.Access.Read = `user != "rita" || !job.full_name.startsWith("secret")`
	onQueue(t, spec, func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		var outs []*streamed
		for i := range 20 {
			user := fmt.Sprintf("user-%d", i)
			if i%2 == 1 {
				user = "rita"
			}
			out, _, stop := s.open("/queue/-/events/", user)
			defer stop()
			out.drain()
			outs = append(outs, out)
		}
		if n := q.lists.Load(); n != 2 {
			s.Errorf("the lists were made %d times for 20 readers with two sets of rights, want 2", n)
		}
		q.lists.Store(0)
		s.triggerIn("hello", "1h")
		q.lanes.Store(0)
		s.settle()
		if n := q.lanes.Load(); n != 1 {
			s.Errorf("the lanes were read %d times for the navigation of 20 pages, want once", n)
		}
		if n := q.lists.Load(); n != 2 {
			s.Errorf("the lists were made %d times for one change, want 2", n)
		}
		for i, out := range outs {
			if text := out.drain(); !strings.Contains(text, "hello") {
				s.Errorf("reader %d has not received the change: %q", i, text)
			}
		}
	})
}

// A page that no stream follows any more is not kept.
func TestSharedPageIsForgottenWithItsLastReader(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		_, _, leave := s.open("/queue/-/events/", "alice")
		_, _, leaveToo := s.open("/queue/-/events/", "alice")
		_, _, leaveOther := s.open("/queue/-/events/job/app/", "alice")
		_, _, leaveOwn := s.open("/queue/-/events/queue/", "alice") // a page of one reader
		for i, tt := range []struct {
			leave func()
			want  int
		}{{leaveOwn, 2}, {leave, 2}, {leaveOther, 1}, {leaveToo, 0}} {
			tt.leave()
			if got := s.pages.pages.Followed(); got != tt.want {
				s.Errorf("after %d readers have left, %d shared pages are kept, want %d", i+1, got, tt.want)
			}
		}
	})
}

// The page is not made again for a stream that has ended.
func TestEndedStreamMakesNoPage(t *testing.T) {
	const streams = 20
	var q slowList
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		for range streams {
			_, _, leave := s.open("/queue/-/events/", "alice")
			s.triggerIn("hello", "1h")
			time.Sleep(10 * time.Millisecond) // it waits for further changes
			leave()
		}
		if n := q.lists.Load(); n != streams {
			s.Errorf("the list was made %d times, want %d", n, streams)
		}
	})
}

// Readers share lists, but not what only one of them may see.
func TestSharedListShowsOnlyWhatItsReaderMaySee(t *testing.T) {
	for _, order := range [][]string{{"alice", "rita"}, {"rita", "alice"}} {
		t.Run(strings.Join(order, " first, then "), func(t *testing.T) {
			onSite(t, tree(), func(s *site) {
				outs := map[string]*streamed{}
				for _, path := range []string{"", "?q=plan", "?state=queued"} {
					for _, user := range order {
						out, _, stop := s.open("/queue/-/events/"+path, user)
						defer stop()
						outs[user+path] = out
					}
				}
				sent := map[string]string{}
				for range 3 {
					s.triggerIn("secret/plan", "1h")
					s.triggerIn("hello", "1h")
					s.settle()
					for who, out := range outs {
						sent[who] += out.drain()
					}
				}
				for who, text := range sent {
					secret := strings.Contains(text, "plan") || strings.Contains(text, "badged")
					if want := strings.HasPrefix(who, "alice"); secret != want {
						s.Errorf("the stream of %s has the jobs of the folder secret: %t, want %t:\n%.2000s", who, secret, want, text)
					}
				}
			})
		})
	}
}

// The navigation is of the reader, also beside a shared list.
func TestNavigationBesideASharedListIsOfItsReader(t *testing.T) {
	spec := tree()
	spec.Access.Read = `user != "rita" || !job.full_name.startsWith("secret")`
	onSite(t, spec, func(s *site) {
		outs := map[string]*streamed{}
		for _, user := range []string{"alice", "rita"} { // both see the same of the folder app
			out, _, stop := s.open("/queue/-/events/job/app/", user)
			defer stop()
			out.drain()
			outs[user] = out
		}
		s.triggerIn("secret/plan", "1h")
		s.settle()
		if text := outs["alice"].drain(); !strings.Contains(text, `"nav"`) {
			s.Errorf("alice may see the item, but her navigation has not changed: %q", text)
		}
		if text := outs["rita"].drain(); text != "" {
			s.Errorf("rita may not see the item, and was sent %q", text)
		}
	})
}

// Streams of many different lists take turns, so that together they leave the processor to
// triggers.
func TestListsOfAllStreamsAreMadeInTurn(t *testing.T) {
	const readers = 20
	for _, tt := range []struct {
		takes, within time.Duration
		least, most   int64
	}{
		{100 * time.Millisecond, time.Minute, 46, 49}, // each is followed by a rest of a second
		{2 * time.Second, 10 * time.Minute, 49, 51},   // by one of ten seconds
	} {
		listsInTurn(t, readers, tt.takes, tt.within, tt.least, tt.most)
	}
}

func listsInTurn(t *testing.T, readers int, takes, within time.Duration, least, most int64) {
	t.Helper()
	q := slowList{takes: takes}
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		for i := range readers {
			_, _, stop := s.open(fmt.Sprintf("/queue/-/events/?q=%d", i), "alice")
			defer stop()
		}
		time.Sleep(time.Second)
		q.lists.Store(0)
		for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Second) {
			s.triggerIn("hello", "1h") // joins, which changes the item
		}
		synctest.Wait()
		n := q.lists.Load()
		if n < least || n > most {
			s.Errorf("%d lists of %v were made for streams within %v, want %d to %d", n, takes, within, least, most)
		}
	})
}

// While nothing changes, no page is made again.
func TestListIsNotMadeWhileNothingChanges(t *testing.T) {
	var q slowList
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		s.triggerIn("app/deploy", "0s")
		_, _, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		time.Sleep(time.Hour)
		if n := q.lists.Load(); n != 1 {
			s.Errorf("the list was made %d times, want once", n)
		}
	})
}

// Streams end at once, also while they wait for their turn or rest.
func TestStreamsEndWhileTheyWaitForTheirTurn(t *testing.T) {
	q := slowList{takes: time.Second}
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		done := make(chan struct{})
		s.pages.site.Done = done
		var ends []<-chan struct{}
		var stops []func()
		var outs []*streamed
		for i := range 6 {
			out, ended, stop := s.open(fmt.Sprintf("/queue/-/events/?q=%d", i), "alice")
			outs, ends, stops = append(outs, out), append(ends, ended), append(stops, stop)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, out := range outs { // no first page waits
			s.holds(out.drain(), "event: page")
		}
		time.Sleep(time.Minute)
		s.triggerIn("hello", "1h")
		time.Sleep(1500 * time.Millisecond) // one has been made, and the next one rests
		q.lists.Store(0)
		for _, stop := range stops[3:] {
			stop()
		}
		close(done)
		for _, ended := range ends {
			<-ended
		}
		if n := q.lists.Load(); n != 0 {
			s.Errorf("%d lists were made for streams that have ended", n)
		}
	})
}

// A reader who leaves while others wait for the page does not take it with them.
func TestLeavingReaderLeavesThePageToOthers(t *testing.T) {
	q := slowList{takes: 2 * time.Second}
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		_, _, leave := s.open("/queue/-/events/", "alice")
		out, _, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		out.drain()
		s.triggerIn("hello", "1h")
		time.Sleep(time.Second) // the first one waits for its turn
		leave()
		time.Sleep(time.Minute)
		synctest.Wait()
		if text := out.drain(); !strings.Contains(text, "hello") {
			s.Errorf("the change has not arrived: %q", text)
		}
	})
}

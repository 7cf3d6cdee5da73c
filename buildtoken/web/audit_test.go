package web_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// Whoever audits sees who cancelled or stopped what, and who was refused. What came too late decided
// nothing.
func TestCancellationsAreAudited(t *testing.T) {
	for _, tt := range []struct {
		name, user, request string
		status              int
		want                []string
	}{
		{"a token cancels", "", "/buildByToken/cancel?job=plain&token=LookAtMe&item=2", 204, []string{"cancelled action=cancel item=2 job=plain remote=10.0.0.12 who=token viewer"}},
		{"a token stops", "", "/buildByToken/cancel?job=plain&token=LookAtMe&item=1", 204, []string{"stopped action=stop item=1 job=plain number=1 remote=10.0.0.12 who=token viewer"}},
		{"a user cancels", "foreman", "/queue/cancelItem?id=2", 204, []string{"cancelled action=cancel item=2 job=plain remote=10.0.0.12 rule=access cancel who=user foreman"}},
		{"a user stops", "foreman", "/job/plain/1/stop", 302, []string{"stopped action=stop item=1 job=plain number=1 remote=10.0.0.12 rule=access cancel who=user foreman"}},
		{"a user may not cancel", "reader", "/queue/cancelItem?id=2", 403, []string{"refused action=cancel item=2 job=plain reason=web: forbidden remote=10.0.0.12 rule=access cancel who=user reader"}},
		{"a user may not stop", "reader", "/job/plain/1/stop", 403, []string{"refused action=stop item=1 job=plain number=1 reason=web: forbidden remote=10.0.0.12 rule=access cancel who=user reader"}},
		{"a user stops a build that has ended", "foreman", "/job/plain/1/stop", 302, nil},
		{"a token stops a build that has ended", "", "/buildByToken/cancel?job=plain&token=LookAtMe&item=1", 409, nil},
		{"an item that has left is cancelled", "foreman", "/queue/cancelItem?id=1", 409, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				core, lines := observer.New(zap.InfoLevel)
				s.detach()
				s.attach(buildtoken.Config{Sites: []*definition.Site{s.api.Definition}, Audit: zap.New(core)})
				for range 2 { // the second one waits
					s.ask(http.MethodPost, "/buildByToken/build?job=plain&token=TacoTuesday&delay=0", nil)
					synctest.Wait()
				}
				if strings.Contains(tt.name, "has ended") {
					s.direct("finish plain#1 SUCCESS")
				}
				lines.TakeAll()
				s.user = tt.user
				if x := s.ask(http.MethodPost, tt.request, nil); x.Code != tt.status {
					t.Errorf("got %d %q, want %d", x.Code, x.body(), tt.status)
				}
				var got []string
				for _, line := range lines.All() {
					text := line.Message
					m := line.ContextMap()
					for _, name := range slices.Sorted(maps.Keys(m)) {
						text += fmt.Sprintf(" %s=%v", name, m[name])
					}
					got = append(got, text)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("audit (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What is on record of a cancellation names the token.
func TestRecordOfACancellation(t *testing.T) {
	bubble(t, func(s *scenario) {
		hush := http.Header{"X-Build-Token": {"Hush"}}
		for n := range 10 {
			s.ask(http.MethodPost, "/buildByToken/build?job=secret&delay=0", hush)
			synctest.Wait()
			s.direct(fmt.Sprintf("finish secret#%d SUCCESS", n+1))
		}
		s.ask(http.MethodPost, "/buildByToken/build?job=secret&delay=0", hush)
		synctest.Wait()
		if x := s.ask(http.MethodGet, "/queue/item/11/", hush); x.body() != "queued as item 11, running as build 11\n" {
			t.Errorf("the item is shown as %q, want that it runs as build 11", x.body())
		}
		s.ask(http.MethodPost, "/buildByToken/build?job=plain&token=TacoTuesday&delay=1h", nil)
		s.ask(http.MethodPost, "/buildByToken/build?job=secret&delay=1h", hush)
		for item, tt := range map[int64]struct{ query, by string }{
			12: {"job=plain&item=12&token=LookAtMe", "token viewer"},
			13: {"job=secret&item=13&token=Hush", "token default"},
		} {
			x := s.send(s.request([]string{"POST /buildByToken/cancel?" + tt.query}))
			e, err := s.ctl.Entry(t.Context(), s.api.Definition, item)
			if x.Code != http.StatusNoContent || err != nil || e.Cancelled == nil || e.Cancelled.By != tt.by {
				t.Errorf("cancel?%s: %d; on record is %+v, %v; want that %s cancelled it", tt.query, x.Code, e.Cancelled, err, tt.by)
			}
			if e.Item.Root != "http://ci.example.com/" { // notifications link to it
				t.Errorf("the item was triggered at %q, want http://ci.example.com/", e.Item.Root)
			}
		}
	})
}

package pages_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	hooked "github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

// The page shows the outcome of each delivery to users with the right to read every job, and a
// button to users with the right to build. What a sender wrote is shown as text.
func TestDeliveriesPage(t *testing.T) {
	secret, err := hook.ParseSecret(hooked.GitHub, "s3cret-of-the-hook")
	if err != nil {
		t.Fatal(err)
	}
	config := hook.Config{Kind: hooked.GitHub, Secrets: []hook.Secret{secret}}
	webhook, err := hook.New(config)
	if err != nil {
		t.Fatal(err)
	}
	signers := webhook.Identities()
	j := at("push", writes(""))
	j.On = []definition.OnSpec{{Webhook: "github"}}
	spec := jobs(j)
	spec.Root.Webhooks = []definition.WebhookSpec{{Config: config}}
	onSite(t, spec, func(s *site) {
		s.holds(s.page("/queue/"), `<p class="deliveries"><a href="/ci/queue/deliveries/">Webhook deliveries</a>`)
		s.holds(s.page("/queue/deliveries/"), "No delivery has arrived", `<li><a href="/ci/queue/"><bdi>Queue</bdi></a></li>`)
		s.holds(s.page("/job/push/"), "Address for webhooks: github<", root+"buildByToken/webhook?job=push")
		s.ctl.Deliveries().Add(deliveries.Delivery{
			At: time.Now(), Target: "push", Webhooks: []string{"github"}, Signers: signers, Kind: hooked.GitHub, Events: []string{"push by <script>"}, Size: 8, Status: 201,
			Outcome: "queued", Jobs: []deliveries.Job{
				{Job: "push", Outcome: "queued", Item: 7, Steps: []deliveries.Step{{Check: "on github when", Found: "true"}}},
				{Job: "theirs", Outcome: "queued", Item: 8}, // of another site with the same secret
			},
			Header: hooked.Header{"X-Github-Event": {"push"}, "X-Hub-Signature-256": {"sha256=abc"}}, Body: []byte("<b>&amp;"),
		}, "github")
		s.ctl.Deliveries().Add(deliveries.Delivery{At: time.Now(), Target: "push", Signers: signers, Size: 9, Status: 403, Outcome: "unsigned", Reason: "hook: not signed"}, "")
		s.ctl.Deliveries().Add(deliveries.Delivery{At: time.Now(), Target: "elsewhere", Signers: signers, Status: 403, Outcome: "unsigned", Reason: "of another site"}, "")
		// The top of another site has the same name, and so may its webhook.
		s.ctl.Deliveries().Add(deliveries.Delivery{
			At: time.Now(), Webhooks: []string{"github"}, Signers: [][32]byte{{1}}, Kind: hooked.GitHub, Events: []string{"of another site"}, Size: 2, Status: 201, Body: []byte("{}"),
		}, "github")
		s.ctl.Deliveries().Add(deliveries.Delivery{
			At: time.Now(), Target: "push", Webhooks: []string{"github"}, Signers: signers, Kind: hooked.GitHub, Size: 13, Status: 201, Concealed: true, Body: []byte("concealed-body"),
		}, "github")
		s.ctl.Deliveries().Add(deliveries.Delivery{
			At: time.Now(), Target: "push", Webhooks: []string{"github"}, Signers: signers, Kind: hooked.GitHub, Size: 3, Status: 201, Body: []byte("{}"),
		}, "github") // only the beginning of its body is kept
		page := s.page("/queue/deliveries/")
		s.holds(page, "push by &lt;script&gt;", "201 queued", `<a href="/ci/queue/item/7/">item 7</a>`, "on github when: true", "X-Github-Event", "&lt;b&gt;&amp;amp;",
			"403 unsigned", "hook: not signed", "The body is not shown", `action="/ci/queue/deliveries/1/replayForm"`)
		s.lacks(page, "data-events", "<script>", "<b>", "Signature", "sha256=abc", "of another site", "theirs", "concealed-body", "deliveries/2/replayForm", "deliveries/6/replayForm", "s3cret")
		for range 6 {
			s.ctl.Deliveries().Add(deliveries.Delivery{
				At: time.Now(), Target: "push", Webhooks: []string{"github"}, Signers: signers, Kind: hooked.GitHub, Size: 2, Status: 201, Body: []byte("{}"),
			}, "github")
		}
		s.holds(s.page("/queue/deliveries/"), `action="/ci/queue/deliveries/12/replayForm"`, `id="replay-12"`)
		reader := s.get("/queue/deliveries/", "rita").Body.String()
		s.holds(reader, "201 queued")
		s.lacks(reader, "replayForm")
		for _, user := range []string{"", "blind"} {
			if w := s.get("/queue/deliveries/", user); w.Code != http.StatusForbidden {
				t.Errorf("user %q: got %d, want 403", user, w.Code)
			}
		}
	})
	// Deliveries can be about any job, so the page is not for users who can read some of them.
	spec.Root.Jobs = append(spec.Root.Jobs, at("hidden", writes("")))
	spec.Access.Read = `user == "alice" || user == "rita" && job.full_name != "hidden" || user == "blind" && job.full_name != ""`
	onSite(t, spec, func(s *site) {
		for user, want := range map[string]int{"alice": http.StatusOK, "rita": http.StatusForbidden, "blind": http.StatusForbidden} {
			if w := s.get("/queue/deliveries/", user); w.Code != want {
				t.Errorf("user %q: got %d, want %d", user, w.Code, want)
			}
		}
	})
	// A site without webhooks has no such page.
	onSite(t, jobs(at("push", writes(""))), func(s *site) {
		s.lacks(s.page("/queue/"), "deliveries")
		if w := s.get("/queue/deliveries/", "alice"); w.Code != http.StatusForbidden {
			t.Errorf("got %d, want 403", w.Code)
		}
	})
}

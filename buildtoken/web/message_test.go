package web_test

import (
	"net/http"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func TestMessageOfARuleIsTheAnswer(t *testing.T) {
	for _, tt := range []struct{ message, want string }{
		{"", "not allowed"},
		{"deploys are frozen until Monday", "not allowed: deploys are frozen until Monday"},
	} {
		err := &policy.Denied{Rule: policy.Rule{Name: "app allow 1", Source: "false", Message: tt.message}}
		if got := web.VerdictOf(err); got.Status != http.StatusForbidden || got.Text != tt.want {
			t.Errorf("VerdictOf(a rule with message %q) = %d %q, want 403 %q", tt.message, got.Status, got.Text, tt.want)
		}
	}
}

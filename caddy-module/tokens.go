package caddymodule

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken"
)

// TokenStatus is what `GET /build_token/tokens` of the admin API shows of a token.
type TokenStatus struct {
	// Place is where the token is defined: the full name of a job, that of a folder with a
	// slash behind it, or "" for the top level.
	Place string `json:"place"`
	Name  string `json:"name"`
	// State is valid, expired, removed for one that the configuration does not have any
	// more, or dead for an expired or removed one that was shown since.
	State   string    `json:"state"`
	Grants  []string  `json:"grants"`
	Expires time.Time `json:"expires,omitzero"`
	// Uses counts requests with the token, on all servers; UsesDead counts
	// those that were refused because it had expired or was removed.
	Uses     uint64    `json:"uses"`
	UsesDead uint64    `json:"dead_uses,omitempty"`
	First    time.Time `json:"first_use,omitzero"`
	Last     time.Time `json:"last_use,omitzero"`
	// From are the last addresses, at most five, newest first.
	From []netip.Addr `json:"from"`
}

// tokens lists the tokens as of now.
func tokens(ctx context.Context, ctl *buildtoken.Controller, now time.Time) ([]TokenStatus, error) {
	all := []TokenStatus{}
	uses, err := ctl.Tokens(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the queue
	}
	for _, t := range uses {
		state := "valid"
		switch {
		case t.Dead > 0 && (t.Removed || t.Token.Expired(now)):
			state = "dead"
		case t.Removed:
			state = "removed"
		case t.Token.Expired(now):
			state = "expired"
		}
		all = append(all, TokenStatus{
			Place: t.Place, Name: t.Name, State: state, Grants: strings.Fields(t.Token.Grants.String()), Expires: t.Token.Expires,
			Uses: t.Uses, UsesDead: t.Dead, First: t.First, Last: t.Last, From: append([]netip.Addr{}, t.From...),
		})
	}
	return all, nil
}

func tokensCommand() *cobra.Command {
	return showCommand(&cobra.Command{
		Use:   "tokens " + adminFlags,
		Short: "Shows the tokens of a running Caddy, and when and from where each was used",
		Long: `
Shows each token by name: where it is defined, what it grants, until when, and how
often, when and from which addresses it was used. A
token that has expired, or that the last reload removed, and was shown since is
listed as dead. It asks the admin API. Secrets are not shown.`,
		Example: `  caddy build-token tokens
  caddy build-token tokens --address unix//run/caddy/admin.sock --json`,
	}, "tokens", formatTokens)
}

// formatTokens returns tokens for people.
func formatTokens(all []TokenStatus, now time.Time) string {
	var b strings.Builder
	b.WriteString("DEFINED IN\tTOKEN\tSTATE\tGRANTS\tEXPIRES\tUSES\tFIRST USE\tLAST USE\tFROM\n")
	for i := range all {
		t := &all[i]
		place, expires, first, last := t.Place, "never", "-", "-"
		if place == "" {
			place = "(top level)"
		}
		if !t.Expires.IsZero() {
			expires = t.Expires.Format(time.RFC3339)
		}
		if !t.Last.IsZero() {
			first, last = rough(now.Sub(t.First))+" ago", rough(now.Sub(t.Last))+" ago"
		}
		from := make([]string, len(t.From))
		for i, a := range t.From {
			from[i] = a.String()
		}
		count := fmt.Sprint(t.Uses)
		if t.UsesDead > 0 {
			count += fmt.Sprintf(" + %d dead", t.UsesDead)
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", place, t.Name, t.State, strings.Join(t.Grants, " "), expires, count, first, last, strings.Join(from, " "))
	}
	return b.String()
}

package hook

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is the way in which a sender proves who it is.
type Kind string

// The kinds.
const (
	GitHub    Kind = "github"    // X-Hub-Signature-256
	GitLab    Kind = "gitlab"    // X-Gitlab-Token, or as Standard if the secret begins with whsec_
	Gitea     Kind = "gitea"     // X-Gitea-Signature; also Forgejo and Gogs
	Bitbucket Kind = "bitbucket" // X-Hub-Signature; Cloud and Data Center
	Standard  Kind = "standard"  // standardwebhooks.com
	Slack     Kind = "slack"     // slash commands
	Stripe    Kind = "stripe"    // Stripe-Signature
	HMAC      Kind = "hmac"      // a header and an algorithm of your choice
	Token     Kind = "token"     // the secret itself, in Authorization or in the query
)

// Kinds returns all kinds, in the order in which documents list them.
func Kinds() []Kind {
	return []Kind{GitHub, GitLab, Gitea, Bitbucket, Standard, Slack, Stripe, HMAC, Token}
}

// ParseKind returns the kind with this name.
func ParseKind(name string) (Kind, error) {
	if kinds := Kinds(); slices.Contains(kinds, Kind(name)) {
		return Kind(name), nil
	}
	names := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return "", fmt.Errorf("%w: kind %q is none of %s", ErrConfig, name, strings.Join(names, ", "))
}

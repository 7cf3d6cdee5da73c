package event

// Kind is a kind of sender. It decides how a delivery is signed and what its
// body looks like.
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

// Header holds the values of each header of a delivery by its canonical name, as
// in net/http.
type Header map[string][]string

// Get returns the first value of a header, or "".
func (h Header) Get(name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

package jenkinsimport

import (
	"regexp"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// git is what a job checks out.
type git struct {
	url string
	// branch is its name, or that of a parameter if fromParam is set.
	branch    string
	fromParam bool
	// clean removes files that are not in Git, wipe all files before the checkout.
	clean, wipe bool
}

// gitVariables are those that the lines of [git.prepare] set.
var gitVariables = []string{"GIT_URL", "GIT_BRANCH", "GIT_COMMIT"}

// harmlessExtensions change only how fast a checkout is, or which commits start a build.
var harmlessExtensions = []string{"CloneOption", "CheckoutOption", "PruneStaleBranch", "PruneStaleTag", "ChangelogToBranch", "BuildChooserSetting", "AuthorInChangelog"}

var (
	branchParam = regexp.MustCompile(`^\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))$`)
	branchName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+-]*$`)
)

// scm reads what the job checks out, nil for nothing.
func (c *conversion) scm() *git {
	scm := c.root.Take("scm")
	if scm == nil || scm.Class == "" || scm.Class == "hudson.scm.NullSCM" {
		return nil
	}
	before := len(c.reasons)
	if scm.Class != "hudson.plugins.git.GitSCM" {
		c.stop(scm, "source code from %s is not supported", scm.Class)
		return nil
	}
	g := &git{}
	c.remote(scm, g)
	c.branch(scm, g)
	c.extensions(scm, g)
	for _, old := range []string{"relativeTargetDir", "localBranch", "reference", "excludedRegions", "includedRegions", "excludedUsers"} {
		if e := scm.Take(old); textOf(e) != "" {
			c.stop(e, "this way to check out is not supported")
		}
	}
	if e := scm.Take("recursiveSubmodules"); textOf(e) == "true" {
		c.stop(e, "this way to check out is not supported")
	}
	g.wipe = g.wipe || scm.TakeText("wipeOutWorkspace") == "true"
	g.clean = g.clean || scm.TakeText("clean") == "true"
	scm.TakeWhole()
	if len(c.reasons) > before {
		return nil
	}
	return g
}

func (c *conversion) remote(scm *jenkinshome.Element, g *git) {
	remotes := scm.Take("userRemoteConfigs").TakeAll()
	if len(remotes) != 1 {
		c.stop(scm, "it has %d remotes; only one is supported", len(remotes))
		return
	}
	r := remotes[0]
	g.url = strings.TrimSpace(r.TakeText("url"))
	if g.url == "" || strings.ContainsAny(g.url, "$\n") || strings.HasPrefix(g.url, "-") {
		c.stop(r, "the URL is empty or has variables")
	}
	if name := r.TakeText("name"); name != "" && name != "origin" {
		c.stop(r, "the remote has a name other than origin")
	}
	if refspec := r.TakeText("refspec"); refspec != "" && refspec != "+refs/heads/*:refs/remotes/origin/*" {
		c.stop(r, "a refspec is not supported")
	}
	if credentials := r.Take("credentialsId"); textOf(credentials) != "" {
		c.note(credentials, "the credentials are not imported: let git log in to %s by itself, with a key or a credential helper of the user that runs builds", shownURL(g.url))
	}
}

func (c *conversion) branch(scm *jenkinshome.Element, g *git) {
	branches := scm.Take("branches").TakeAll()
	if len(branches) != 1 {
		c.stop(scm, "it has %d branches; only one is supported", len(branches))
		return
	}
	text := strings.TrimSpace(branches[0].TakeText("name"))
	if found := branchParam.FindStringSubmatch(text); found != nil {
		g.branch, g.fromParam = found[1]+found[2], true
		if !slices.ContainsFunc(c.params, func(p param) bool { return p.Name == g.branch }) {
			c.stop(branches[0], "%s is not a parameter of the job", g.branch)
		}
		return
	}
	for _, prefix := range []string{"*/", "origin/", "refs/heads/", "refs/remotes/origin/"} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			text = rest
			break
		}
	}
	if !branchName.MatchString(text) || strings.Contains(text, "..") {
		c.stop(branches[0], "the branch is not one name: which one is built depends on Jenkins")
	}
	g.branch = text
}

func (c *conversion) extensions(scm *jenkinshome.Element, g *git) {
	for _, e := range scm.Take("extensions").TakeAll() {
		name := e.Name[strings.LastIndexByte(e.Name, '.')+1:]
		switch {
		case slices.Contains(harmlessExtensions, name):
		case name == "CleanCheckout", name == "CleanBeforeCheckout":
			g.clean = true
		case name == "WipeWorkspace":
			g.wipe = true
		default:
			c.stop(e, "this way to check out is not supported")
		}
	}
}

// prepare returns the lines of a shell script that check out the branch, and set the variables of
// Jenkins' plugin. They follow the lines before.
func (g *git) prepare(before string) string {
	if g.wipe {
		before = wipe
	}
	head := "branch=" + shellQuote(g.branch) + "\n"
	if g.fromParam {
		head = "branch=${" + g.branch + "#origin/}\n"
	}
	lines := []string{
		"git init -q || exit 1",
		"git fetch -q --force --prune --tags -- " + shellQuote(g.url) + " '+refs/heads/*:refs/remotes/origin/*' || exit 1",
		`GIT_COMMIT=$(git rev-parse -q --verify "refs/remotes/origin/$branch^{commit}" || git rev-parse --verify "$branch^{commit}") || exit 1`,
		`git checkout -q --force --detach "$GIT_COMMIT" || exit 1`,
	}
	if g.clean {
		lines = append(lines, "git clean -q -ffdx || exit 1")
	}
	return before + head + strings.Join(lines, "\n") + "\nGIT_BRANCH=origin/$branch GIT_URL=" + shellQuote(g.url) + "\nexport GIT_COMMIT GIT_BRANCH GIT_URL\n"
}

// pollLines are those of a script that ends with 0 if the branch has moved since the last
// build, with 1 if it has not, and with another status if that cannot be found out.
func (g *git) pollLines() string {
	return "# Written by import-jenkins: ends with 0 if the branch has moved since the last build, else with 1.\n" +
		"new=$(git ls-remote -- " + shellQuote(g.url) + " " + shellQuote("refs/heads/"+g.branch) + ") || exit 2\n" +
		"new=${new%%[!0-9a-f]*}\n" +
		`[ -n "$new" ] || { echo "there is no branch ` + g.branch + `"; exit 2; }` + "\n" +
		"old=$(git rev-parse -q --verify HEAD 2>/dev/null)\n" +
		`echo "built: ${old:-nothing}, now: $new"` + "\n" +
		`[ "$new" != "$old" ]` + "\n"
}

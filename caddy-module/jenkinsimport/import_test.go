package jenkinsimport_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

// Whole imports, with all the files that they write, are in testdata/import. The tests here have
// only what differs from job to job.

// options are those of all tests, with tokens that are not random.
func options() jenkinsimport.Options {
	return jenkinsimport.Options{Dir: "/srv", Random: bytes.NewReader(bytes.Repeat([]byte{0xab}, 1000))}
}

// home returns the Jenkins with files, given as paths and texts in turn.
func home(t *testing.T, files ...string) jenkinshome.Home {
	t.Helper()
	fsys := fstest.MapFS{}
	for pair := range slices.Chunk(files, 2) {
		fsys[pair[0]] = &fstest.MapFile{Data: []byte(pair[1])}
	}
	read, err := jenkinshome.Read(fsys, "home", "home")
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func plan(t *testing.T, o jenkinsimport.Options, homes ...jenkinshome.Home) *jenkinsimport.Plan {
	t.Helper()
	p, err := jenkinsimport.New(homes, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lines returns what an import makes of the only job: its lines in the Caddyfile without the last, which
// runs its only script, the script if there is more than one, and its part of the report.
func lines(p *jenkinsimport.Plan) string {
	var b strings.Builder
	_, inside, _ := strings.Cut(p.Caddyfile(), "job j {\n")
	for line := range strings.Lines(strings.TrimSuffix(inside, "\t\t}\n\t}\n}\n")) {
		if line = strings.TrimPrefix(line, "\t\t\t"); line != "run sh -xe /srv/jobs/j.sh\n" {
			b.WriteString(line)
		}
	}
	for _, f := range p.Files() {
		if _, script, ok := strings.Cut(f.Text, "The first that fails ends the build.\n"); ok {
			b.WriteString(script)
		}
	}
	b.WriteString(entry(p.Report.Jobs[0]))
	return b.String()
}

func entry(e *jenkinsimport.Entry) string {
	text := string(e.Status)
	if e.RunsIn != "" {
		text += " " + e.RunsIn
	}
	for _, n := range slices.Concat(e.Reasons, e.Notes) {
		text += "\n- " + n.Element + ": " + n.Text
	}
	return text
}

const shell = `<hudson.tasks.Shell><command>make</command></hudson.tasks.Shell>`

func parameter(class, rest string) string {
	return `<properties><hudson.model.ParametersDefinitionProperty><parameterDefinitions><` + class + `><name>P</name>` + rest +
		`</` + class + `></parameterDefinitions></hudson.model.ParametersDefinitionProperty></properties>`
}

func inject(lines string) string {
	return `<properties><EnvInjectJobProperty><info><propertiesContent>` + lines + `</propertiesContent></info><on>true</on></EnvInjectJobProperty></properties>`
}

// checkout is what a job with Git has, with something more in the remote, the branches and beside them.
func checkout(remote, branches, beside string) string {
	return `<scm class="hudson.plugins.git.GitSCM"><userRemoteConfigs><hudson.plugins.git.UserRemoteConfig>` + remote +
		`</hudson.plugins.git.UserRemoteConfig></userRemoteConfigs><branches>` + branches + `</branches>` + beside + `</scm>`
}

const (
	remote = `<url>https://git.example.com/a.git</url>`
	branch = `<hudson.plugins.git.BranchSpec><name>main</name></hudson.plugins.git.BranchSpec>`
)

// checkedOut is the command of a job with Git, and its script.
func checkedOut(before, branch, clean string) string {
	return "run sh /srv/jobs/j.sh\n" + before + "branch=" + branch + `
git init -q || exit 1
git fetch -q --force --prune --tags -- https://git.example.com/a.git '+refs/heads/*:refs/remotes/origin/*' || exit 1
GIT_COMMIT=$(git rev-parse -q --verify "refs/remotes/origin/$branch^{commit}" || git rev-parse --verify "$branch^{commit}") || exit 1
git checkout -q --force --detach "$GIT_COMMIT" || exit 1
` + clean + `GIT_BRANCH=origin/$branch GIT_URL=https://git.example.com/a.git
export GIT_COMMIT GIT_BRANCH GIT_URL
sh -xe /srv/jobs/j.1.sh || exit 1
`
}

// TestJobs imports jobs that are alike but for one thing.
func TestJobs(t *testing.T) {
	const imported, noted, leftOut = "imported here", "imported with notes here\n- ", "left out\n- "
	const badQuiet = "quietPeriod: %q is no number of seconds that can be used; the default applies"
	const injected = "properties/EnvInjectJobProperty/info/propertiesContent: the line for %q is not a plain NAME=value"
	const otherWay = "this way to check out is not supported"
	const atRemote = leftOut + "scm/userRemoteConfigs/hudson.plugins.git.UserRemoteConfig: "
	const strategy = "hudson.plugins.build_timeout.impl.AbsoluteTimeOutStrategy"
	minutes := func(n string) string {
		return `<buildWrappers><hudson.plugins.build__timeout.BuildTimeoutWrapper><strategy class="` + strategy + `"><timeoutMinutes>` + n +
			`</timeoutMinutes></strategy></hudson.plugins.build__timeout.BuildTimeoutWrapper></buildWrappers>`
	}
	step := func(command, rest string) string {
		return `<builders><hudson.tasks.Shell><command>` + command + `</command>` + rest + `</hudson.tasks.Shell></builders>`
	}
	const atStep = "builders/hudson.tasks.Shell: "
	const atParam = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions/"
	discard := func(class, rest string) string {
		return `<properties><jenkins.model.BuildDiscarderProperty><strategy class="` + class + `">` + rest + `</strategy></jenkins.model.BuildDiscarderProperty></properties>`
	}
	const rotator, atStrategy = "hudson.tasks.LogRotator", "properties/jenkins.model.BuildDiscarderProperty/strategy: "
	for _, tt := range []struct{ name, in, want string }{
		{"a plain job", ``, imported},

		{"a description", `<description>Builds it</description>`, "description \"Builds it\"\n" + imported},
		{"a description that Caddy would change", `<description>costs {$5}</description>`, noted + "description: the description is left away: it has {$, which Caddy replaces in Caddyfiles"},
		{"a description with all quotes", "<description>a `b` \\\"c</description>", "description <<END\n" + "a `b` \\\"c\nEND\n" + imported},
		{"a description with all quotes and a marker", "<description>`\\\" END</description>", "description <<END2\n`\\\" END\nEND2\n" + imported},
		{"a description with two markers", "<description>`\\\" END END2</description>", "description <<END3\n`\\\" END END2\nEND3\n" + imported},
		{"actions are ignored", `<actions><a.B>x</a.B></actions><creationTime>1</creationTime><keepDependencies>true</keepDependencies>`, imported},

		{"no quiet period", `<quietPeriod>0</quietPeriod>`, "quiet_period 0s\n" + imported},
		{"the longest quiet period", `<quietPeriod>31536000</quietPeriod>`, "quiet_period 525600m\n" + imported},
		{"a quiet period that is too long", `<quietPeriod>31536001</quietPeriod>`, noted + fmt.Sprintf(badQuiet, "31536001")},
		{"a negative quiet period", `<quietPeriod>-1</quietPeriod>`, noted + fmt.Sprintf(badQuiet, "-1")},
		{"a quiet period in words", `<quietPeriod>x</quietPeriod>`, noted + fmt.Sprintf(badQuiet, "x")},

		{"one old build", discard(rotator, `<daysToKeep>-1</daysToKeep><numToKeep>1</numToKeep>`), "keep_builds 1\n" + imported},
		{"no number of old builds", discard(rotator, `<daysToKeep>1</daysToKeep>`), noted + atStrategy + "Jenkins discards builds after 1 days; here only their number counts"},
		{"old builds in words", discard(rotator, `<daysToKeep>x</daysToKeep><numToKeep>0</numToKeep>`), imported},
		{"old builds beyond all numbers", discard(rotator, `<numToKeep>99999999999999999999</numToKeep>`), imported},
		{"old artifacts by days", discard(rotator, `<artifactDaysToKeep>1</artifactDaysToKeep><artifactNumToKeep>-1</artifactNumToKeep>`), noted + atStrategy + "there are no artifacts here, so their limits do not apply"},
		{"old artifacts by number", discard(rotator, `<artifactDaysToKeep>-1</artifactDaysToKeep><artifactNumToKeep>1</artifactNumToKeep>`), noted + atStrategy + "there are no artifacts here, so their limits do not apply"},
		{"another strategy", discard("a.B", `<numToKeep>5</numToKeep><x>1</x>`), noted + atStrategy + "the strategy a.B for old builds is not supported; the default of keep_builds applies"},

		{"an empty label", `<assignedNode/>`, imported},
		{"the label of Jenkins' own node", `<assignedNode>master</assignedNode><advancedAffinityChooser><a.B>x</a.B></advancedAffinityChooser>`, imported},
		{"a workspace", `<customWorkspace>/w</customWorkspace>`, "dir /w\n" + noted + "customWorkspace: builds start in this directory, which must exist (Jenkins makes it), but WORKSPACE is the job's own"},
		{"no workspace", `<customWorkspace/>`, imported},
		{"a workspace with a variable", `<customWorkspace>/w/$A</customWorkspace>`, leftOut + "customWorkspace: the workspace depends on Jenkins' own directory or on variables"},
		{"a workspace in that of Jenkins", `<customWorkspace>w</customWorkspace>`, leftOut + "customWorkspace: the workspace depends on Jenkins' own directory or on variables"},

		{"no timeout", minutes("0"), noted + "buildWrappers/hudson.plugins.build_timeout.BuildTimeoutWrapper: the minutes of the timeout are no number; set timeout"},
		{"the shortest timeout", minutes("1"), "timeout 3m\n" + imported},
		{"a longer timeout", minutes("4"), "timeout 4m\n" + imported},
		{"the longest timeout", minutes("134217727"), "timeout 134217727m\n" + imported},
		{"a timeout that is too long", minutes("134217728"), noted + "buildWrappers/hudson.plugins.build_timeout.BuildTimeoutWrapper: the minutes of the timeout are no number; set timeout"},

		{"variables, comments and blank lines", inject(" #x\n\n!x\n A = 1\nB=2\n"), "env A 1\nenv B 2\n" + imported},
		{"a variable set twice", inject("A=1\nB=1\nA=2"), "env B 1\nenv A 2\n" + imported},
		{"a line without a value", inject("A"), leftOut + fmt.Sprintf(injected, "A")},
		{"a variable with another name", inject("A-B=1"), leftOut + fmt.Sprintf(injected, "A-B")},
		{"a variable of another", inject("A=$B"), leftOut + fmt.Sprintf(injected, "A")},
		{"an escaped variable", inject(`A=\t`), leftOut + fmt.Sprintf(injected, "A")},
		{"two lines with the same reason", inject("A=$B\nA=$C"), leftOut + fmt.Sprintf(injected, "A")},
		{
			"a publisher that changes the result", `<publishers><a.MakeUnstable/></publishers>`,
			noted + "publishers/a.MakeUnstable: it can change the result of builds in Jenkins, and does not here\n- publishers/a.MakeUnstable: not imported",
		},

		{"a text that is trimmed", parameter("hudson.model.TextParameterDefinition", `<trim>true</trim>`), "param P text\n" + noted + atParam + "hudson.model.TextParameterDefinition: Jenkins trims the value; a text is not trimmed here"},
		{"a choice without a default", parameter("hudson.model.ChoiceParameterDefinition", `<choices><string>a</string><string/><string>b</string></choices>`), "param P choice a \"\" b\n" + imported},
		{"the first choice as default", parameter("hudson.model.ChoiceParameterDefinition", `<choices><string>a</string><string>b</string></choices><defaultValue>a</defaultValue>`), "param P choice a b\n" + imported},
		{"the second choice as default", parameter("hudson.model.ChoiceParameterDefinition", `<choices><string>a</string><string>b</string></choices><defaultValue>b</defaultValue>`), "param P choice b a\n" + imported},
		{"a default that is no choice", parameter("hudson.model.ChoiceParameterDefinition", `<choices><string>a</string><string>b</string></choices><defaultValue>c</defaultValue>`), "param P choice a b\n" + imported},
		{"a password", parameter("hudson.model.PasswordParameterDefinition", ``), "param P password\n" + imported},
		{"a password with a default", parameter("hudson.model.PasswordParameterDefinition", `<defaultValue>x</defaultValue>`), "param P password\n" + noted + atParam + "hudson.model.PasswordParameterDefinition: the default of the password is not imported; callers must give the value"},
		{"a password with a secret default", parameter("hudson.model.PasswordParameterDefinition", `<defaultValueAsSecret>x</defaultValueAsSecret>`), "param P password\n" + noted + atParam + "hudson.model.PasswordParameterDefinition: the default of the password is not imported; callers must give the value"},
		{"a default that Caddy would change", parameter("hudson.model.StringParameterDefinition", `<defaultValue>{$A}</defaultValue>`), leftOut + atParam + "hudson.model.StringParameterDefinition: parameter P: its default or a choice has {$, which Caddy replaces in Caddyfiles"},
		{"a parameter of a plugin", parameter("a.B", `<x>1</x>`), leftOut + atParam + "a.B: parameter P: a parameter of the class a.B is not supported"},

		{"a checkout", checkout(remote, branch, ""), checkedOut("", "main", "") + imported},
		{"a checkout in an empty workspace", checkout(remote, branch, "<wipeOutWorkspace>true</wipeOutWorkspace>"), checkedOut("find . -mindepth 1 -delete || exit 1\n", "main", "") + imported},
		{"a clean checkout", checkout(remote, branch, "<clean>true</clean>"), checkedOut("", "main", "git clean -q -ffdx || exit 1\n") + imported},
		{"a branch named like a remote", checkout(remote, strings.Replace(branch, "main", "*/origin/main", 1), ""), checkedOut("", "origin/main", "") + imported},
		{"a remote with the usual name and refspec", checkout(remote+"<name>origin</name><refspec>+refs/heads/*:refs/remotes/origin/*</refspec>", branch, ""), checkedOut("", "main", "") + imported},
		{"a remote with another name", checkout(remote+"<name>up</name>", branch, ""), atRemote + "the remote has a name other than origin"},
		{"a remote with a refspec", checkout(remote+"<refspec>+refs/pull/*:refs/pull/*</refspec>", branch, ""), atRemote + "a refspec is not supported"},
		{"a remote without a URL", checkout("<url/>", branch, ""), atRemote + "the URL is empty or has variables"},
		{"a remote with a variable", checkout("<url>https://$A/</url>", branch, ""), atRemote + "the URL is empty or has variables"},
		{"a remote like an option", checkout("<url>-x</url>", branch, ""), atRemote + "the URL is empty or has variables"},
		{"two remotes", checkout(remote+"</hudson.plugins.git.UserRemoteConfig><hudson.plugins.git.UserRemoteConfig>"+remote, branch, ""), leftOut + "scm: it has 2 remotes; only one is supported"},
		{"no remote", checkout(remote, branch, "")[:len(`<scm class="hudson.plugins.git.GitSCM">`)] + "</scm>", leftOut + "scm: it has 0 remotes; only one is supported\n- scm: it has 0 branches; only one is supported"},
		{"two branches", checkout(remote, branch+branch, ""), leftOut + "scm: it has 2 branches; only one is supported"},
		{"a checkout in a folder", checkout(remote, branch, "<relativeTargetDir>a</relativeTargetDir>"), leftOut + "scm/relativeTargetDir: " + otherWay},
		{"a checkout with submodules", checkout(remote, branch, "<recursiveSubmodules>true</recursiveSubmodules>"), leftOut + "scm/recursiveSubmodules: " + otherWay},

		{"the lowest unstable status", step("make", "<unstableReturn>1</unstableReturn>"), "run sh -xe /srv/jobs/j.sh {\n\tunstable 1\n}\n" + imported},
		{"the highest unstable status", step("make", "<unstableReturn>255</unstableReturn>"), "run sh -xe /srv/jobs/j.sh {\n\tunstable 255\n}\n" + imported},
		{"no unstable status", step("make", "<unstableReturn>0</unstableReturn><configuredLocalRules><a.B/></configuredLocalRules>"), imported},
		{"a status that is too high", step("make", "<unstableReturn>256</unstableReturn>"), leftOut + atStep + `"256" is no exit status`},
		{"a negative status", step("make", "<unstableReturn>-1</unstableReturn>"), leftOut + atStep + `"-1" is no exit status`},
		{"a status in words", step("make", "<unstableReturn>x</unstableReturn>"), leftOut + atStep + `"x" is no exit status`},
		{
			"two steps, one of which can be unstable", `<builders>` + shell + `<hudson.tasks.Shell><command>make</command><unstableReturn>1</unstableReturn></hudson.tasks.Shell></builders>`,
			"run sh /srv/jobs/j.sh {\n\tunstable 3\n}\nresult=0\nsh -xe /srv/jobs/j.1.sh || exit 1\nsh -xe /srv/jobs/j.2.sh || { [ $? -eq 1 ] || exit 1; result=3; }\nexit $result\n" + imported,
		},
		{"no program", step("#!\nmake", ""), leftOut + atStep + "the first line names no program"},
		{"a blank before the program", step("#! /bin/sh\nmake", ""), leftOut + atStep + "Jenkins cannot start a script with a blank after #!; remove it"},
		{"a tab before the program", step("#!\t/bin/sh\nmake", ""), leftOut + atStep + "Jenkins cannot start a script with a blank after #!; remove it"},
		{"a placeholder as program", step("#!{env.A}\nmake", ""), leftOut + atStep + "the first line has braces, which can be placeholders"},
		{"a variable of Jenkins", step("echo $GIT_URL ${GIT_URL}", ""), noted + atStep + "the script reads GIT_URL, which is not set here; set it with env, or change the script"},
		{"two variables of Jenkins", step("echo $NODE_LABELS $JENKINS_HOME", ""), noted + atStep + "the script reads NODE_LABELS, JENKINS_HOME, which is not set here; set it with env, or change the script"},
		{"a parameter with the name of a variable of Jenkins", strings.Replace(parameter("hudson.model.StringParameterDefinition", ""), "<name>P<", "<name>GIT_URL<", 1) + step("echo $GIT_URL", ""), "param GIT_URL string\n" + imported},
		{"a variable of the checkout", checkout(remote, branch, "") + step("echo $GIT_URL", ""), checkedOut("", "main", "") + imported},
		{"another variable of Git", checkout(remote, branch, "") + step("echo $GIT_PREVIOUS_COMMIT", ""), checkedOut("", "main", "") + noted + atStep + "the script reads GIT_PREVIOUS_COMMIT, which is not set here; set it with env, or change the script"},
		{"processes that go on", step("BUILD_ID=dontKillMe a", ""), noted + atStep + "the script lets processes go on after the build; here all processes of a build end with it, so start them as a service"},

		{"a schedule with braces", `<triggers><hudson.triggers.TimerTrigger><spec>{env.A}</spec></hudson.triggers.TimerTrigger></triggers>`, noted + "triggers/hudson.triggers.TimerTrigger: the schedule is not imported: it has braces"},
		{"an encrypted token without keys", `<authToken>{AQAAABAAAAAgAAECAwQFBgcICQoLDA0OD5uS7j+xQcQU0B1s8XTvIOe7TF8ZinhsFk36xJWmcB6H}</authToken>`, "token sha256:" + newDigest + "\n" + noted + "authToken: the token is encrypted, and the keys in secrets are missing, so the job has a new one: give it to the callers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			if !strings.Contains(in, "<builders>") {
				in += "<builders>" + shell + "</builders>"
			}
			p := plan(t, options(), home(t, "jobs/j/config.xml", "<project>"+in+"</project>"))
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(lines(p), "\n")); diff != "" {
				t.Errorf("the import (-want +got):\n%s", diff)
			}
		})
	}
}

// newDigest is that of the token that the tests make instead of a random one.
const newDigest = "271a413bd339c5709fdceaec41f14f11e9fbfb5042d72d331c65f32b284cd09a"

// These values were encrypted with the keys in testdata of the package jenkinshome.
const (
	encryptedNothing = "{AQAAABAAAAAQYWJjZGVmZ2hpamtsbW5vcG/SW7uKlUuOunANvVGQvLo=}"
	encryptedBlank   = "{AQAAABAAAAAgYWJjZGVmZ2hpamtsbW5vcN5gClTVQtIZV+FcXSbQiXhK7pAYsuv+aFjh+wy1oQP9}" // before the token
	encryptedShort   = "{AQAAABAAAAAQYWJjZGVmZ2hpamtsbW5vcFFEVYtodHzZHarVNNu3JCA=}"                     // 15 characters
	encryptedLong    = "{AQAAABAAAAAgYWJjZGVmZ2hpamtsbW5vcMU6w91f1ivcFFFoCyY2QntXjBgqiTDYX5+LYl9Pth1Y}" // 16 characters
	otherKey         = "{AQAAABAAAAAQYWJjZGVmZ2hpamtsbW5vcFFEVYtodHzZHarVNNu3JCE=}"
)

func job(inside string) string {
	return "<project>" + inside + "<builders>" + shell + "</builders></project>"
}

func TestTokens(t *testing.T) {
	keys, err := jenkinshome.ReadKeys(secrets(t))
	if err != nil {
		t.Fatal(err)
	}
	const made, because = "token sha256:" + newDigest + "\nimported with notes here\n- authToken: the token ", ", so the job has a new one: give it to the callers"
	const longDigest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"
	for _, tt := range []struct {
		name, token string
		mode        jenkinsimport.TokenMode
		want        string
		short       bool
		secret      []string // the files that only their owner may read
	}{
		{"a token", encryptedLong, "", "token sha256:" + longDigest + "\nimported here", false, nil},
		{"a short token", encryptedShort, "", "token sha256:" + shortDigest + "\nimported here", true, nil},
		{"a token in a file", encryptedLong, jenkinsimport.TokenFile, "token {file./srv/tokens/j.token}\nimported here", false, []string{"tokens/j.token=0123456789abcdef\n"}},
		{"a new token", encryptedShort, jenkinsimport.TokenNew, "token sha256:" + newDigest + "\nimported here", false, []string{newToken}},
		{"a token of another server", otherKey, "", made + "cannot be decrypted with these keys" + because, false, []string{newToken}},
		{"an empty token", encryptedNothing, "", made + "begins or ends with white space" + because, false, []string{newToken}},
		{"a token with a blank", encryptedBlank, "", made + "begins or ends with white space" + because, false, []string{newToken}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Keys, o.Tokens = keys, tt.mode
			p := plan(t, o, home(t, "jobs/j/config.xml", job("<authToken>"+tt.token+"</authToken>")))
			if got := lines(p); got != tt.want {
				t.Errorf("the import is\n%s\nwant\n%s", got, tt.want)
			}
			if got := p.Jobs[0].ShortToken; got != tt.short {
				t.Errorf("ShortToken = %t, want %t", got, tt.short)
			}
			var secret []string
			for _, f := range p.Files() {
				if f.Secret {
					secret = append(secret, f.Path+"="+f.Text)
				}
			}
			if diff := cmp.Diff(tt.secret, secret); diff != "" {
				t.Errorf("secret files (-want +got):\n%s", diff)
			}
			o.Random = strings.NewReader("too short")
			_, err := jenkinsimport.New([]jenkinshome.Home{home(t, "jobs/j/config.xml", job("<authToken>"+tt.token+"</authToken>"))}, o)
			if isNew := strings.Contains(tt.want, newDigest); errors.Is(err, io.ErrUnexpectedEOF) != isNew {
				t.Errorf("New without random numbers: %v, want an error %t", err, isNew)
			}
		})
	}
	o := options()
	o.Random = strings.NewReader("")
	_, err = jenkinsimport.New([]jenkinshome.Home{home(t, "jobs/j/config.xml", job("<authToken>"+encryptedLong+"</authToken>"))}, o)
	if !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), `job "j": make a token: `) {
		t.Errorf("New without keys and random numbers: %v, want %v and the name of the job", err, io.EOF)
	}
}

const (
	shortDigest = "027687e87ab072c778c8f2e66177fb78c6aa19952987b97b3140b68ebd5f90ea"
	newToken    = "new-tokens.txt=j\tabababababababababababababababababababababababababababababababab\n"
)

func secrets(t *testing.T) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	for from, to := range map[string]string{"master.key": "secrets/master.key", "hudson.util.Secret": "secrets/hudson.util.Secret"} {
		text, err := os.ReadFile(filepath.Join("..", "jenkinshome", "testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		fsys[to] = &fstest.MapFile{Data: text}
	}
	return fsys
}

func TestRelayedJobs(t *testing.T) {
	const inJenkins = "imported with notes jenkins\n- "
	const all = inJenkins + ": the job runs in Jenkins: all jobs are relayed, as asked for"
	runner := func(job, token string) string {
		if token != "" {
			token = "\tjob_token " + token + "\n"
		}
		return "runner jenkins https://jenkins.example.com/ " + job + " {\n\tuser {env.JENKINS_USER} {env.JENKINS_API_TOKEN}\n" + token + "}\n"
	}
	const atParam = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions/"
	parameters := func(more string) string {
		return strings.Replace(parameter("hudson.model.StringParameterDefinition", ""), "</parameterDefinitions>", more+"</parameterDefinitions>", 1)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"a job", job(""), runner("j", "") + all},
		{"a job with a token", job("<authToken>token</authToken>"), "token {file./srv/tokens/j.token}\n" + runner("j", "{file./srv/tokens/j.token}") + all},
		{"a job with a parameter", job(parameters("")), "param P string\n" + runner("j", "") + all},
		{
			"a parameter of a plugin", job(parameter("a.B", "<defaultValue>x</defaultValue>")),
			"param P string x\n" + runner("j", "") + inJenkins + atParam + "a.B: the job runs in Jenkins: parameter P: a parameter of the class a.B is not supported\n- " +
				atParam + "a.B: parameter P is passed on as text: a parameter of the class a.B is not supported",
		},
		{
			"a parameter of a plugin with parts", job(parameter("a.B", "<defaultValue>x<y>1</y></defaultValue>")),
			"param P string\n" + runner("j", "") + inJenkins + atParam + "a.B: the job runs in Jenkins: parameter P: a parameter of the class a.B is not supported\n- " +
				atParam + "a.B: parameter P is passed on as text: a parameter of the class a.B is not supported",
		},
		{
			"a parameter that Caddy would change", job(parameter("hudson.model.StringParameterDefinition", "<defaultValue>{$A}</defaultValue>")),
			runner("j", "") + inJenkins + atParam + "hudson.model.StringParameterDefinition: the job runs in Jenkins: parameter P: its default or a choice has {$, which Caddy replaces in Caddyfiles\n- " +
				atParam + "hudson.model.StringParameterDefinition: parameter P cannot be passed on, so Jenkins uses its default: its default or a choice has {$, which Caddy replaces in Caddyfiles",
		},
		{
			"two parameters of one name", job(parameters("<hudson.model.StringParameterDefinition><name>p</name></hudson.model.StringParameterDefinition>")),
			"param P string\n" + runner("j", "") + inJenkins + atParam + "hudson.model.StringParameterDefinition[1]: the job runs in Jenkins: duplicate parameter: P and p\n- " +
				atParam + "hudson.model.StringParameterDefinition[2]: parameter p cannot be passed on, so Jenkins uses its default: ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Relay, o.RelayAll, o.Tokens = "https://jenkins.example.com/", true, jenkinsimport.TokenFile
			p := plan(t, o, home(t, "jobs/j/config.xml", tt.in))
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(lines(p), "\n")); diff != "" {
				t.Errorf("the import (-want +got):\n%s", diff)
			}
			p.Finish()
			if want := "1 job runs in Jenkins. "; !slices.ContainsFunc(p.Report.General, func(n jenkinsimport.Note) bool { return strings.HasPrefix(n.Text, want) }) {
				t.Errorf("the general notes are %v, want one with %q", p.Report.General, want)
			}
			if got, want := p.Report.Summary(), "1 job: 0 imported, 1 imported with notes, 0 left out; 1 of them runs in Jenkins"; got != want {
				t.Errorf("Summary = %q, want %q", got, want)
			}
		})
	}
}

// TestServer imports the configuration of the whole server.
func TestServer(t *testing.T) {
	option := func(lines string) string { return "{\n\tbuild_token {\n" + lines + "\t}\n}\n" }
	variables := func(strings ...string) string {
		text := `<globalNodeProperties><hudson.slaves.EnvironmentVariablesNodeProperty><envVars><tree-map>`
		for _, s := range strings {
			text += "<string>" + s + "</string>"
		}
		return text + `</tree-map></envVars></hudson.slaves.EnvironmentVariablesNodeProperty></globalNodeProperties>`
	}
	const notImported = "the variable %s is not imported: its name or value has characters with a meaning for Jenkins or Caddy"
	for _, tt := range []struct{ name, in, label, option, settings, note string }{
		{name: "nothing"},
		{name: "one executor", in: `<numExecutors>1</numExecutors>`, option: option("\t\texecutors 1\n")},
		{name: "no executors", in: `<numExecutors>0</numExecutors>`},
		{name: "fewer executors than none", in: `<numExecutors>-1</numExecutors>`},
		{name: "too many executors", in: `<numExecutors>99999999999999999999</numExecutors>`},
		{name: "a label", in: `<label>linux</label>`, label: "linux", option: option("\t\tnode built-in {\n\t\t\tlabels linux\n\t\t}\n")},
		{name: "the usual quiet period", in: `<quietPeriod>5</quietPeriod>`},
		{name: "a shorter quiet period", in: `<quietPeriod>4</quietPeriod>`, settings: "quiet_period 4s"},
		{name: "a longer quiet period", in: `<quietPeriod>6</quietPeriod>`, settings: "quiet_period 6s"},
		{name: "the longest quiet period", in: `<quietPeriod>31536000</quietPeriod>`, settings: "quiet_period 525600m"},
		{name: "a quiet period that is too long", in: `<quietPeriod>31536001</quietPeriod>`},
		{name: "a variable", in: variables("A", "1"), settings: "env A 1"},
		{name: "half a variable", in: variables("A"), note: fmt.Sprintf(notImported, "A")},
		{name: "a variable with another name", in: variables("A-B", "1"), note: fmt.Sprintf(notImported, "A-B")},
		{name: "a variable of another", in: variables("A", "$B"), note: fmt.Sprintf(notImported, "A")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			label := ""
			if tt.label != "" {
				label = "<assignedNode>" + tt.label + "</assignedNode>"
			}
			p := plan(t, options(), home(t, "config.xml", "<hudson>"+tt.in+"</hudson>", "jobs/j/config.xml", job(label)))
			_, text, _ := strings.Cut(p.Caddyfile(), "to that of this server.\n")
			option, text, _ := strings.Cut(text, "\n:8080 {\n\tbuild_token {\n")
			settings, _, _ := strings.Cut(text, "\t\tjob j {")
			if settings = strings.TrimSpace(settings); option != tt.option || settings != tt.settings {
				t.Errorf("the global option is %q and the settings are %q, want %q and %q", option, settings, tt.option, tt.settings)
			}
			var want []jenkinsimport.Note
			if tt.note != "" {
				want = []jenkinsimport.Note{{Element: "globalNodeProperties/hudson.slaves.EnvironmentVariablesNodeProperty", Text: tt.note}}
			}
			if got := p.Report.General; !slices.Equal(got, want) {
				t.Errorf("the general notes are %v, want %v", got, want)
			}
		})
	}
}

// TestOtherItems reports on folders and on what is no job here.
func TestOtherItems(t *testing.T) {
	const folder = "com.cloudbees.hudson.plugins.folder.Folder"
	parsed := func(text string) *jenkinshome.Element {
		e, err := jenkinshome.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	const unusable = "left out\n- : the name cannot be that of a job here: it is empty, too long, or has a control character"
	for _, tt := range []struct {
		name string
		item jenkinshome.Item
		want string
	}{
		{"a folder", jenkinshome.Item{FullName: "f", Config: parsed("<" + folder + "/>")}, "imported"},
		{"a folder with a property", jenkinshome.Item{FullName: "f", Config: parsed("<" + folder + "><properties><a.B/></properties></" + folder + ">")}, "imported with notes\n- properties/a.B: not imported"},
		{"a job without a name", jenkinshome.Item{Config: parsed(job(""))}, unusable},
		{"a job with two slashes", jenkinshome.Item{FullName: "a//b", Config: parsed(job(""))}, unusable},
		{"a job with a control character", jenkinshome.Item{FullName: "a\tb", Config: parsed(job(""))}, unusable},
		{"an unreadable job", jenkinshome.Item{FullName: "a", Err: errors.New("jenkinshome: it is torn")}, "left out\n- : it is torn"},
		{
			"a pipeline without a repository",
			jenkinshome.Item{FullName: "a", Config: parsed(`<flow-definition><definition class="a.CpsScmFlowDefinition"><scriptPath>Jenkinsfile</scriptPath></definition></flow-definition>`)},
			"left out\n- definition: a pipeline is not supported; its script is Jenkinsfile",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan(t, options(), jenkinshome.Home{Items: []jenkinshome.Item{tt.item}})
			entries := slices.Concat(p.Report.Jobs, p.Report.Folders)
			if len(p.Jobs) != 0 || len(entries) != 1 || entry(entries[0]) != tt.want {
				t.Fatalf("%d jobs, and the report has %v, want %q", len(p.Jobs), p.Report.Markdown(), tt.want)
			}
			p.Finish()
			if notes := p.Report.General; len(notes) != 0 {
				t.Errorf("without jobs, there are general notes: %v", notes)
			}
		})
	}
}

// A job below another job is left out, at any depth. The files of the others have different paths, and are sorted by them.
func TestNames(t *testing.T) {
	p := plan(t, options(),
		home(t, "jobs/a/config.xml", job(""), "jobs/A/config.xml", job(""), "jobs/aAzZ09 !/config.xml", job(""),
			"jobs/d e/config.xml", job(""), "jobs/d/config.xml", "<com.cloudbees.hudson.plugins.folder.Folder/>", "jobs/d/jobs/e/config.xml", job("")),
		home(t, "jobs/a/config.xml", job(""), "jobs/a/jobs/b/config.xml", job(""), "jobs/a/jobs/b/jobs/c/config.xml", job("")))
	var got []string
	for _, e := range p.Report.Jobs {
		got = append(got, strings.Join(append([]string{e.Job, entry(e)}, e.Files...), " "))
	}
	for _, f := range p.Files() {
		got = append(got, f.Path)
	}
	const below = "left out\n- : here a job and a folder cannot have the same name"
	if diff := cmp.Diff([]string{
		"A imported here jobs/A.sh", "a imported here jobs/a-2.sh", "a left out\n- : there is another job of this name in home/jobs/a/config.xml",
		"a/b " + below, "a/b/c " + below, "aAzZ09 ! imported here jobs/aAzZ09__.sh",
		"d e imported here jobs/d_e.sh", "d/e imported here jobs/d/e.sh",
		"jobs/A.sh", "jobs/a-2.sh", "jobs/aAzZ09__.sh", "jobs/d/e.sh", "jobs/d_e.sh",
	}, got); diff != "" {
		t.Errorf("the import (-want +got):\n%s", diff)
	}
}

func TestLeaveOutAndReplace(t *testing.T) {
	described := job("<description>x</description><authToken>token</authToken>" + parameter("hudson.model.StringParameterDefinition", "<description>y</description>"))
	o := options()
	o.Tokens = jenkinsimport.TokenNew
	p := plan(t, o, home(t, "jobs/a/config.xml", described, "jobs/b/config.xml", described, "jobs/c/config.xml", described))
	state := func() (all []string) {
		for _, j := range p.Jobs {
			all = append(all, j.FullName+" "+j.Description+j.Params[0].Description)
		}
		for _, e := range p.Report.Jobs {
			all = append(all, e.Job+" "+entry(e))
		}
		for _, f := range p.Files() {
			all = append(all, f.Path+fmt.Sprint(strings.Count(f.Text, "\n")))
		}
		return all
	}
	if diff := cmp.Diff([]string{
		"a xy", "b xy", "c xy", "a imported here", "b imported here", "c imported here", "jobs/a.sh0", "jobs/b.sh0", "jobs/c.sh0", "new-tokens.txt3",
	}, state()); diff != "" {
		t.Fatalf("the plan (-want +got):\n%s", diff)
	}
	before := p.Jobs[1]
	p.Replace(before.Bare("they are gone"))
	if before.Description+before.Params[0].Description != "xy" || entry(before.Entry) != "imported here" {
		t.Error("Bare has changed the job itself")
	}
	p.LeaveOut("a", "it is too odd")
	p.LeaveOut("none", "it is not there")
	if diff := cmp.Diff([]string{
		"b ", "c xy", "a left out\n- : it is too odd", "b imported with notes here\n- description: they are gone", "c imported here", "jobs/b.sh0", "jobs/c.sh0", "new-tokens.txt2",
	}, state()); diff != "" {
		t.Errorf("the plan with a job less (-want +got):\n%s", diff)
	}
	if e := p.Report.Jobs[0]; e.RunsIn != "" || e.Token != "" || len(e.Files) != 0 {
		t.Errorf("the report of the job that was left out is %+v", e)
	}
}

// A report with one general note, one skipped path and one folder with a note shows them all.
func TestMarkdown(t *testing.T) {
	const folder = "com.cloudbees.hudson.plugins.folder.Folder"
	h := home(t, "config.xml", "<hudson><views><a.B/></views></hudson>", "jobs/f/config.xml", "<"+folder+"><a.B/></"+folder+">")
	h.Skipped = append(h.Skipped, jenkinshome.Skipped{Path: "a\nb", Reason: "it is odd"})
	p := plan(t, options(), h)
	p.Finish()
	want := `# Import from Jenkins

0 jobs: 0 imported, 0 imported with notes, 0 left out.

## Before you switch

- ` + "`config.xml`" + `: not imported, because it is no part of a job: views

## Folders

### ` + "`f`" + `

` + "`" + folder + "` in `home/jobs/f/config.xml`" + `

- ` + "`a.B`" + `: not imported

## Not read

- ` + "`a b`" + `: it is odd
`
	if diff := cmp.Diff(want, p.Report.Markdown()); diff != "" {
		t.Errorf("Markdown (-want +got):\n%s", diff)
	}
}

func TestGeneralNotes(t *testing.T) {
	p := plan(t, options(), home(t, "jobs/a/config.xml", job("<authToken>token</authToken><cleanWorkspaceRequired>false</cleanWorkspaceRequired>")))
	p.Finish()
	text := fmt.Sprint(p.Report.General)
	for _, want := range []string{
		"These elements have no effect on builds and are not imported: cleanWorkspaceRequired (1 job).",
		"These jobs have a token of fewer than 16 characters, which whoever reads the Caddyfile can guess from its digest. Replace them once the callers have moved: a.",
		"Jenkins keeps all builds of 1 job;",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the general notes are %s, want %q among them", text, want)
		}
	}
}

package jenkinsimport

import (
	"strings"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// meanings are what to do about elements that are not imported, by the ends of their names. The
// first that fits counts.
var meanings = []struct{ suffix, text string }{
	{"Mailer", "no mail is sent; use notify with the format mail"},
	{"ExtendedEmailPublisher", "no mail is sent; use notify with the format mail"},
	{"ArtifactArchiver", "there are no artifacts; let the script copy its results to where they are needed"},
	{"ReverseBuildTrigger", "the end of another job starts nothing; let the script of that job trigger this one with curl"},
	{"BuildTrigger", "no other job is started; let the script trigger it with curl"},
	{"JUnitResultArchiver", "test results are not read, and do not change the result of a build"},
	{"GitHubPushTrigger", "pushes start nothing; use webhook github and on"},
	{"GitLabPushTrigger", "pushes start nothing; use webhook gitlab and on"},
	{"GerritTrigger", "Gerrit starts nothing; use a webhook"},
	{"AuthorizationMatrixProperty", "permissions are not imported; use access"},
	{"SlackNotifier", "nothing is sent to Slack; use notify with the format slack"},
	{"FolderCredentialsProperty", "credentials are not imported"},
	{"WsCleanup", "the workspace is not cleaned; let the script do it"},
	{"BuildNameSetter", "builds have no names here"},
	{"TestInProgressBuildWrapper", "tests are not shown while they run"},
	{"BuildUser", "BUILD_USER and others are not set"},
}

// meaning is the note of the report about an element that was not used.
func meaning(e *jenkinshome.Element) string {
	if e.Dangling() {
		return "not imported: it refers to an element that is not there"
	}
	for _, m := range meanings {
		if strings.HasSuffix(e.Name, m.suffix) {
			return m.text
		}
	}
	return "not imported"
}

// harmless are elements without an effect on builds: settings of pages in Jenkins, and plugins
// that are switched off, for which a field has a value.
var harmless = []struct{ name, field, value string }{
	{name: "com.sonyericsson.rebuild.RebuildSettings"},
	{name: "com.coravy.hudson.plugins.github.GithubProjectProperty"},
	{name: "com.dabsquared.gitlabjenkins.connection.GitLabConnectionProperty"},
	{name: "com.chikli.hudson.plugin.naginator.NaginatorOptOutProperty"},
	{name: "com.sonyericsson.jenkins.plugins.bfa.model.ScannerJobProperty"},
	{name: "hudson.plugins.disk_usage.DiskUsageProperty"},
	{name: "hudson.plugins.jira.JiraProjectProperty"},
	{name: "hudson.plugins.timestamper.TimestamperBuildWrapper"},
	{name: "hudson.plugins.ansicolor.AnsiColorBuildWrapper"},
	{name: "hudson.plugins.throttleconcurrents.ThrottleJobProperty", field: "throttleEnabled", value: "false"},
	{name: "hudson.plugins.buildblocker.BuildBlockerProperty", field: "useBuildBlocker", value: "false"},
}

// isHarmless reports whether builds do the same without an element.
func isHarmless(e *jenkinshome.Element) bool {
	if e.Name == "cleanWorkspaceRequired" {
		return e.Text == "false"
	}
	for _, h := range harmless {
		if h.name == e.Name {
			return h.field == "" || e.TakeText(h.field) == h.value
		}
	}
	return false
}

package jenkinsimport

import (
	"strings"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// meanings are what to do about elements that are not imported, by the ends of their names.
var meanings = []struct{ suffix, text string }{
	{"Mailer", "no mail is sent; use notify with the format mail"},
	{"ExtendedEmailPublisher", "no mail is sent; use notify with the format mail"},
	{"ArtifactArchiver", "there are no artifacts; let the script copy its results to where they are needed"},
	{"BuildTrigger", "no other job is started; let the script trigger it with curl"},
	{"ReverseBuildTrigger", "the end of another job starts nothing; let the script of that job trigger this one with curl"},
	{"JUnitResultArchiver", "test results are not read, and do not change the result of a build"},
	{"GitHubPushTrigger", "pushes start nothing; use webhook github and on"},
	{"GitLabPushTrigger", "pushes start nothing; use webhook gitlab and on"},
	{"GerritTrigger", "Gerrit starts nothing; use a webhook"},
	{"AuthorizationMatrixProperty", "permissions are not imported; use access"},
	{"SlackNotifier", "nothing is sent to Slack; use notify with the format slack"},
	{"FolderCredentialsProvider$FolderCredentialsProperty", "credentials are not imported"},
	{"WsCleanup", "the workspace is not cleaned; let the script do it"},
}

// meaning is what the report says about an element that was not used.
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

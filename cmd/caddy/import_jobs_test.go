package main_test

import (
	"fmt"
	"strings"
)

// jenkinsJob is a job of a Jenkins, and the expected result of its import.
type jenkinsJob struct {
	name   string // with folders
	status string // in the report

	// A freestyle job: the scripts of its shell steps as their author wrote them, and other
	// parts of its configuration.
	scripts    []string
	unstable   string // of the first step
	xml        string // elements of the project
	properties string
	params     string // definitions

	// file is the whole file of a job of another kind.
	file string

	// given are the parameters of the trigger; wanted are more variables that the scripts see.
	given  map[string]string
	wanted map[string]string
	// result is the result of the build, if it does not follow from the exit statuses of the
	// scripts.
	result string
}

// xmlText writes a text as Jenkins does.
func xmlText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case strings.ContainsRune(`&<>"'`, r):
			b.WriteString(map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;", '\'': "&apos;"}[r])
		case r < ' ' && r != '\n' && r != '\t':
			fmt.Fprintf(&b, "&#x%x;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// config returns the file of the job.
func (j jenkinsJob) config() string {
	if j.file != "" {
		return j.file
	}
	var b strings.Builder
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<project>\n  <actions/>\n  <description>" + xmlText("Job "+j.name) + "</description>\n  <keepDependencies>false</keepDependencies>\n  <properties>\n")
	if j.params != "" {
		b.WriteString("<hudson.model.ParametersDefinitionProperty><parameterDefinitions>" + j.params + "</parameterDefinitions></hudson.model.ParametersDefinitionProperty>\n")
	}
	b.WriteString(j.properties + "  </properties>\n")
	if !strings.Contains(j.xml, "<scm ") {
		b.WriteString("  <scm class=\"hudson.scm.NullSCM\"/>\n")
	}
	b.WriteString("  <canRoam>true</canRoam>\n" + j.xml + "  <builders>\n")
	for i, script := range j.scripts {
		b.WriteString("    <hudson.tasks.Shell>\n      <command>" + xmlText(strings.ReplaceAll(script, "\n", "\r\n")) + "</command>\n      <configuredLocalRules/>\n")
		if i == 0 && j.unstable != "" {
			b.WriteString("      <unstableReturn>" + j.unstable + "</unstableReturn>\n")
		}
		b.WriteString("    </hudson.tasks.Shell>\n")
	}
	b.WriteString("  </builders>\n  <publishers/>\n  <buildWrappers/>\n</project>\n")
	return b.String()
}

const (
	imported = "imported"
	noted    = "imported with notes"
	leftOut  = "left out"
)

func jenkinsParam(kind, name, rest string) string {
	return "<hudson.model." + kind + "ParameterDefinition><name>" + name + "</name>" + rest + "</hudson.model." + kind + "ParameterDefinition>\n"
}

func defaultValue(text string) string { return "<defaultValue>" + xmlText(text) + "</defaultValue>" }

func one(script string) []string { return []string{script} }

// jenkinsJobs returns jobs of every kind. repository is the URL of a Git repository.
func jenkinsJobs(repository string) []jenkinsJob {
	git := func(branch, more string) string {
		return `<scm class="hudson.plugins.git.GitSCM"><userRemoteConfigs><hudson.plugins.git.UserRemoteConfig><url>` + repository + `</url>` + more +
			`</hudson.plugins.git.UserRemoteConfig></userRemoteConfigs><branches><hudson.plugins.git.BranchSpec><name>` + branch + `</name></hudson.plugins.git.BranchSpec></branches><extensions/></scm>` + "\n"
	}
	trigger := func(class, spec string) string {
		return "<triggers><hudson.triggers." + class + "><spec>" + spec + "</spec></hudson.triggers." + class + "></triggers>\n"
	}
	wrapper := func(inside string) string { return "<buildWrappers>" + inside + "</buildWrappers>\n" }
	publisher := func(name string) string { return "<publishers><" + name + "><x>1</x></" + name + "></publishers>\n" }
	inject := func(lines string) string {
		return "<EnvInjectJobProperty><info><propertiesContent>" + lines + "</propertiesContent></info><on>true</on></EnvInjectJobProperty>\n"
	}
	pipeline := func(definition string) string {
		return "<flow-definition><authToken>0123456789abcdef</authToken><definition class=\"org.jenkinsci.plugins.workflow.cps." + definition + "</definition></flow-definition>"
	}
	return []jenkinsJob{
		// Everything that scripts can contain. None has a pipe, because the order in which sh
		// -x prints the commands of one varies.
		{name: "hello", status: imported, scripts: one("echo hello"), xml: "<authToken>TacoTuesday</authToken>\n"},
		{name: "empty", status: imported, scripts: one("")},
		{name: "no_line_end", status: imported, scripts: one("echo a\necho b")},
		{name: "fails", status: imported, scripts: one("echo before\nfalse\necho after")},
		{name: "exits", status: imported, scripts: one("exit 7")},
		{name: "no_command", status: imported, scripts: one("no-such-command-here x")},
		{name: "syntax", status: imported, scripts: one("echo 'not closed")},
		{name: "quotes", status: imported, scripts: one("echo \"double\" 'single' \\\\back `echo quoted` $(echo nested)")},
		{name: "markup", status: imported, scripts: one("echo '<a href=\"x\">&amp;</a>' && echo ']]>'")},
		{name: "braces", status: imported, scripts: one("echo {path} {env.HOME} {$HOME} ${HOME:+set} {param.X}\necho x y >x\nawk '{$1=\"\"; print}' x")},
		{name: "colours", status: imported, scripts: one("printf '\x1b[31mred\x1b[0m\\n' >x\nod -c x")},
		{name: "unicode", status: imported, scripts: one("echo 'Grüße 빌드 😀'")},
		{name: "here_document", status: imported, scripts: one("cat <<END\n\ttabs and $JOB_NAME\nEND\ncat <<'END'\n$JOB_NAME\nEND")},
		{name: "functions", status: imported, scripts: one("f() {\n  for i in 1 2 3; do echo \"$1 $i\"; done\n}\nf x")},
		{name: "directory", status: imported, scripts: one("set +x\n[ \"$PWD\" = \"$WORKSPACE\" ] && ls -A && echo yes\n\necho x >file\ncat file")},
		{name: "standard_error", status: imported, scripts: one("echo out\necho err >&2\necho out again")},
		{name: "variables", status: imported, scripts: one("echo $JOB_NAME $JOB_BASE_NAME $BUILD_NUMBER $BUILD_ID $BUILD_DISPLAY_NAME $CI $TEAM")},
		{name: "large", status: imported, scripts: one(strings.Repeat("# a comment that makes the script long\n", 3000) + "echo end")},

		// Steps.
		{name: "bash", status: imported, scripts: one("#!/bin/bash -e\na=(1 2 3)\necho ${a[@]}")},
		{name: "env_bash", status: imported, scripts: one("#!/usr/bin/env bash\nset -u\necho ${BASH_VERSION:+bash}")},
		{name: "two_steps", status: imported, scripts: []string{"A=1\necho one $A", "echo two $A\n"}},
		{name: "second_step_fails", status: imported, scripts: []string{"echo one", "echo two\nexit 5", "echo three"}},
		{name: "first_step_fails", status: imported, scripts: []string{"false", "echo two"}},
		{name: "steps_of_two_shells", status: imported, scripts: []string{"echo sh", "#!/bin/bash\necho $((1+1))"}},
		{name: "unstable", status: imported, scripts: one("echo x\nexit 3"), unstable: "3", result: "UNSTABLE"},
		{name: "not_unstable", status: imported, scripts: one("exit 4"), unstable: "3"},
		{name: "unstable_zero", status: imported, scripts: one("exit 0"), unstable: "0"},
		{name: "unstable_then_more", status: imported, scripts: []string{"exit 3", "echo goes on"}, unstable: "3", result: "UNSTABLE"},
		{name: "unstable_then_failure", status: imported, scripts: []string{"exit 3", "exit 3"}, unstable: "3", result: "FAILURE"},

		// Parameters.
		{
			name: "texts", status: imported, params: jenkinsParam("String", "A", defaultValue("from  here")) + jenkinsParam("Text", "B", defaultValue("one\ntwo `x` \"y\"")) + jenkinsParam("String", "BUILD_BRANCH", ""),
			scripts: one("printf '%s|\\n' \"$A\" \"$B\" \"$BUILD_BRANCH\""), wanted: map[string]string{"A": "from  here", "B": "one\ntwo `x` \"y\"", "BUILD_BRANCH": ""},
		},
		{
			name: "given", status: imported, params: jenkinsParam("String", "A", defaultValue("from here")) + jenkinsParam("Boolean", "B", defaultValue("false")), scripts: one("printf '%s|\\n' \"$A\" \"$B\""),
			given: map[string]string{"A": "$(echo no) `x` ' \"", "B": "true"},
		},
		{
			name: "choices", status: imported,
			params: jenkinsParam("Choice", "A", `<choices class="java.util.Arrays$ArrayList"><a class="string-array"><string>x y</string><string>z</string></a></choices>`) +
				jenkinsParam("Choice", "B", `<choices><string>1</string><string>2</string></choices>`+defaultValue("2")),
			scripts: one("echo $A $B"), wanted: map[string]string{"A": "x y", "B": "2"},
		},
		{name: "trimmed", status: imported, params: jenkinsParam("String", "A", defaultValue(" x ")+"<trim>true</trim>"), scripts: one("echo \"<$A>\""), wanted: map[string]string{"A": "x"}},
		{name: "booleans", status: imported, params: jenkinsParam("Boolean", "A", defaultValue("true")) + jenkinsParam("Boolean", "B", ""), scripts: one("echo $A $B"), wanted: map[string]string{"A": "true", "B": "false"}},
		{name: "password", status: imported, params: jenkinsParam("Password", "A", ""), scripts: one("test \"$A\" = hunter2"), given: map[string]string{"A": "hunter2"}},
		{name: "password_with_default", status: noted, params: jenkinsParam("Password", "A", defaultValue("x")), scripts: one("true"), given: map[string]string{"A": "x"}},

		// Settings.
		{name: "injected", status: imported, properties: inject("A=1\nB = two words"), scripts: one("echo $A $B"), wanted: map[string]string{"A": "1", "B": "two words"}},
		{name: "kept", status: imported, scripts: one("true"), properties: `<jenkins.model.BuildDiscarderProperty><strategy class="hudson.tasks.LogRotator"><daysToKeep>-1</daysToKeep><numToKeep>5</numToKeep></strategy></jenkins.model.BuildDiscarderProperty>`},
		{
			name: "limited", status: imported, scripts: one("true"), xml: "<quietPeriod>0</quietPeriod><concurrentBuild>true</concurrentBuild><assignedNode>linux</assignedNode>\n" +
				wrapper(`<hudson.plugins.build__timeout.BuildTimeoutWrapper><strategy class="hudson.plugins.build_timeout.impl.AbsoluteTimeOutStrategy"><timeoutMinutes>5</timeoutMinutes></strategy></hudson.plugins.build__timeout.BuildTimeoutWrapper>`),
		},
		{name: "nightly", status: imported, scripts: one("echo night"), xml: trigger("TimerTrigger", "H H(0-2) * * *")},
		{name: "checked_out", status: imported, scripts: one("cat README\ngit log -1 --format=%s\necho $GIT_BRANCH $GIT_URL\ntest \"$GIT_COMMIT\" = \"$(git rev-parse HEAD)\""), xml: git("*/main", ""), wanted: map[string]string{"GIT_BRANCH": "origin/main", "GIT_URL": repository}},
		{
			name: "checked_out_by_parameter", status: imported, params: jenkinsParam("String", "BRANCH", defaultValue("main")), given: map[string]string{"BRANCH": "other"}, scripts: one("cat README"),
			xml: git("${BRANCH}", ""), wanted: map[string]string{"GIT_BRANCH": "origin/other", "GIT_URL": repository},
		},
		{name: "polled", status: imported, scripts: one("cat README"), xml: "<authToken>TacoTuesday</authToken>\n" + git("main", "") + trigger("SCMTrigger", "H/5 * * * *"), wanted: map[string]string{"GIT_BRANCH": "origin/main", "GIT_URL": repository}},

		// Names and folders.
		{name: "site/deploy", status: imported, scripts: one("echo $JOB_NAME $JOB_BASE_NAME"), xml: "<authToken>TacoTuesday</authToken>\n"},
		{name: "site/inner/it's a `job` # {x}", status: imported, scripts: one("echo \"$JOB_NAME\"")},

		// Imported with notes.
		{name: "disabled", status: imported, scripts: one("true"), xml: "<disabled>true</disabled>\n"},
		{name: "mails", status: noted, scripts: one("echo x"), xml: publisher("hudson.tasks.Mailer")},
		{name: "starts_others", status: noted, scripts: one("echo x"), xml: publisher("hudson.tasks.BuildTrigger")},
		{name: "elsewhere", status: noted, scripts: one("echo x"), xml: "<assignedNode>windows</assignedNode>\n"},

		// Left out.
		{name: "script_has_blank", status: leftOut, scripts: one("#! /bin/sh\necho x")},
		{name: "batch", status: leftOut, xml: "<builders><hudson.tasks.BatchFile><command>dir</command></hudson.tasks.BatchFile></builders>\n"},
		{name: "bindings", status: leftOut, scripts: one("true"), xml: wrapper("<org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper><bindings/></org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper>")},
		{name: "reserved", status: leftOut, params: jenkinsParam("String", "LD_PRELOAD", ""), scripts: one("true")},
		{name: "run_parameter", status: leftOut, params: jenkinsParam("Run", "A", "<projectName>hello</projectName>"), scripts: one("true")},
		{name: "subversion", status: leftOut, scripts: one("true"), xml: `<scm class="hudson.scm.SubversionSCM"><locations/></scm>` + "\n"},
		{name: "default_of_caddy", status: leftOut, params: jenkinsParam("String", "A", defaultValue("{$HOME}")), scripts: one("true")},
		{name: "inline", status: leftOut, file: pipeline(`CpsFlowDefinition"><script>echo 1</script>`)},
		{name: "from_scm", status: leftOut, file: pipeline(`CpsScmFlowDefinition"><scriptPath>Jenkinsfile</scriptPath>`)},
		{name: "matrix", status: leftOut, file: "<matrix-project><axes/></matrix-project>"},
		{name: "maven", status: leftOut, file: "<maven2-moduleset><goals>verify</goals></maven2-moduleset>"},
		{name: "multi", status: leftOut, file: "<org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject/>"},
		{name: "flow", status: leftOut, file: "<com.cloudbees.plugins.flow.BuildFlow><dsl>x</dsl></com.cloudbees.plugins.flow.BuildFlow>"},
		{name: "external", status: leftOut, file: "<hudson.model.ExternalJob/>"},
		{name: "broken", status: leftOut, file: "<project><builders>"},
	}
}

package job

import (
	"slices"
	"strings"
)

// Reserved reports whether no parameter can have this name, because it has a
// meaning for the trigger, for the environment of a build, or for the programs
// that a build starts:
//
//   - the control values of a trigger, by their exact names: job, token, delay, cause, json
//   - the variables of every build, by their exact names: CI, JOB_NAME, BUILD_NUMBER, …
//   - the user's environment: PATH, HOME, USER, LANG, LC_*, TZ, TMPDIR, …
//   - what makes loaders, shells, interpreters and git execute or load something
//     else: LD_*, DYLD_*, BASH_*, IFS, PYTHONPATH, NODE_OPTIONS, GIT_SSH*, …
//
// In the last two groups, case does not matter. The list keeps a job from
// offering such a name to callers by mistake. It is not a security boundary:
// only the author of a build knows what its programs read. Names like ENV,
// USERNAME, BUILD_TYPE, GIT_BRANCH and PYTHON_VERSION are not reserved.
func Reserved(name string) bool {
	switch name {
	case "job", "token", "delay", "cause", "json",
		"CI", "JOB_NAME", "JOB_BASE_NAME", "JOB_URL",
		"BUILD_NUMBER", "BUILD_ID", "BUILD_DISPLAY_NAME", "BUILD_TAG", "BUILD_URL", "BUILD_CAUSE",
		"QUEUE_ID", "NODE_NAME", "EXECUTOR_NUMBER", "WORKSPACE", "TRACEPARENT":
		return true
	}
	name = strings.ToUpper(name)
	if slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return true
	}
	switch name {
	case // The user's environment, on Unix and on Windows.
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "PWD", "OLDPWD", "TERM",
		"TMPDIR", "TMP", "TEMP", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
		"PATHEXT", "COMSPEC", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "USERPROFILE",
		"APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "PSMODULEPATH",

		// Loaders and the C library.
		"LIBPATH", "SHLIB_PATH", "GCONV_PATH", "LOCPATH", "NLSPATH", "GLIBC_TUNABLES",
		"HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN", "TERMINFO", "TERMCAP",

		// Shells. ENV is read by interactive ones only.
		"IFS", "BASHOPTS", "SHELLOPTS", "CDPATH", "GLOBIGNORE", "PS4", "PROMPT_COMMAND", "POSIXLY_CORRECT",
		"FPATH", "ZDOTDIR", "INPUTRC",

		// Interpreters and virtual machines.
		"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONINSPECT", "PYTHONEXECUTABLE",
		"PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT", "PYTHONWARNINGS", "PYTHON_PRESITE",
		"PERL5LIB", "PERL5OPT", "PERL5DB", "PERL5SHELL", "PERLLIB", "PERLIO_DEBUG",
		"RUBYOPT", "RUBYLIB", "RUBYSHELL", "RUBYPATH", "GEM_HOME", "GEM_PATH", "BUNDLE_GEMFILE",
		"NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_EXTRA_CA_CERTS",
		"PHPRC", "PHP_INI_SCAN_DIR",
		"CLASSPATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "MAVEN_OPTS", "MAVEN_ARGS", "GRADLE_OPTS",
		"GOFLAGS", "GOENV", "GOROOT", "GOTOOLCHAIN", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_HOME",

		// Programs that other programs start.
		"MAKEFLAGS", "GNUMAKEFLAGS", "MFLAGS", "MAKEFILES",
		"EDITOR", "VISUAL", "PAGER", "LESSOPEN", "LESSCLOSE",
		"SSH_ASKPASS", "SSH_AUTH_SOCK", "SUDO_ASKPASS", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES",
		"GIT_EXEC_PATH", "GIT_TEMPLATE_DIR", "GIT_ASKPASS", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER",
		"GIT_PROXY_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE",
		"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ALLOW_PROTOCOL", "GIT_PROTOCOL_FROM_USER",
		"GIT_ATTR_SOURCE":
		return true
	}
	return false
}

//nolint:gochecknoglobals // a constant table
var reservedPrefixes = []string{
	"LC_", "LD_", "DYLD_", "_RLD", "BASH_", "LUA_INIT", "LUA_PATH", "LUA_CPATH",
	"GIT_SSH", "GIT_CONFIG", "GIT_TRACE", "NPM_CONFIG_",
}

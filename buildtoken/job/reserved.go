package job

import "strings"

// Reserved says whether no parameter may have this name, in whatever case,
// because it means something to the trigger, to the build's environment, or to
// the programs that a build starts:
//
//   - what a trigger itself is made of: job, token, delay, cause
//   - what every build is told: CI, JOB_*, BUILD_*, QUEUE_*, NODE_NAME,
//     EXECUTOR_NUMBER, WORKSPACE
//   - the user's surroundings: PATH, HOME, USER, LANG, LC_*, TZ, TMPDIR, …
//   - what makes loaders, shells, interpreters and git run or load something else:
//     LD_*, DYLD_*, BASH_*, IFS, PYTHONPATH, NODE_OPTIONS, GIT_SSH*, …
//
// The list keeps a job from handing such a name to callers by mistake. It
// is no fence: what a build's own programs read, only its author knows. Names like
// ENV, USERNAME, BROWSER, GIT_BRANCH and PYTHON_VERSION are left to users on purpose.
func Reserved(name string) bool {
	name = strings.ToUpper(name)
	for _, prefix := range reservedPrefixes() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "JOB", "TOKEN", "DELAY", "CAUSE",
		"CI", "NODE_NAME", "EXECUTOR_NUMBER", "WORKSPACE",

		// The user's surroundings, on Unix and on Windows.
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

func reservedPrefixes() []string {
	return []string{
		"JOB_", "BUILD_", "QUEUE_", "LC_",
		"LD_", "DYLD_", "_RLD", "BASH_", "LUA_INIT", "LUA_PATH", "LUA_CPATH",
		"GIT_SSH", "GIT_CONFIG", "GIT_TRACE", "NPM_CONFIG_",
	}
}

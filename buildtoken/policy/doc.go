// Package policy compiles CEL rules and decides whether they allow a request. A policy is the list of
// rules that apply to a request, from the outermost folder down to the job and its token. All of them
// must be true, so a single rule can deny. The error names the rule that decided.
//
// # What a rule sees
//
//	job      name, folder, full_name
//	token    name ("" when the caller used no token)
//	params   map of strings: the build's parameters
//	delay    duration until the build is due
//	cause    string, the reason that the caller sent
//	user     string, the user that an authentication handler accepted ("" for anonymous callers)
//	now      timestamp, the same for every rule of one decision; UTC unless a zone is given
//	request  method, host, path, scheme, remote_ip, user_agent, headers (map, lower-case names)
//
// Rules of an access block ([NewAccessEnv]) see only user, job and request. Besides CEL's standard
// functions there are optional types (params.?NAME.orValue("")), and those of cel-go's extensions
// strings, sets, math, encoders and network. In request.remote_ip, an IPv4 address in IPv6 notation
// (::ffff:192.0.2.1) is written as IPv4, and zones are removed, because ip() and cidr() refuse both.
//
// Expressions of an `on` block ([NewEventEnv]) see event and body in addition to job, user, now and
// request. They do not see what depends on them, such as params.
//
// # Failures
//
// Only true allows. A rule that fails while it is evaluated denies, and the use of a missing parameter
// fails: write "K" in params && params.K == "x", or use params.?K.
//
// The second operand of && or || can hide a failure of the first: in CEL, (failure && false) is false
// and (failure || true) is true.
//
// # Limits
//
// A rule has at most 8192 characters and two nested comprehensions. Its regular expressions have at
// most 1000 instructions and must be literals, or elements of a list of literals. Its cost, in CEL's
// units of about 50 ns, is limited to 100 000 twice: by an estimate when it is compiled, and by the
// actual cost when it runs. The estimate assumes at most 64 parameters and 64 headers, names of 256
// characters and texts of 1024; a nested loop over parameters is refused if the product of such sizes
// is too large. If a request is larger, the limit at run time denies it. matches() fails for a text
// that is too long for its pattern (bytes times instructions: 4 million), because it cannot be
// interrupted. The other functions take time linear in their text; cost is counted after each call.
//
// Expressions about a delivery work on up to 300 000 paths. For them the estimate assumes 100 000
// files and allows 10^9, and a loop can take 30 s at run time: the time of CEL's own cost accounting
// grows with the square of the number of rounds.
package policy

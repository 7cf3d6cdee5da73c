// Package policy compiles CEL rules and says whether a request may go on, naming the rule that
// decided. A policy is the list of rules that apply to a request, from the outermost folder down
// to the job and its token; every one of them must be true, so a deny anywhere wins.
//
// # What a rule sees
//
//	job      name, folder, full_name
//	token    name ("" when the caller used no token)
//	params   map of strings: the build's parameters
//	delay    duration until the build is due
//	cause    string, what the caller gave as the reason
//	user     string, whom an authentication handler let in ("" for nobody)
//	now      timestamp, the same for every rule of one decision; UTC unless a zone is given
//	request  method, host, path, scheme, remote_ip, user_agent, headers (map, lower-case names)
//
// Rules of an access block ([NewAccessEnv]) see only user, job and request. Besides CEL's standard
// functions there are optional types (params.?NAME.orValue("")), and those of cel-go's extensions strings,
// sets, math, encoders and network. An
// IPv4 address that was written as IPv6 (::ffff:192.0.2.1) shows as IPv4 in request.remote_ip,
// and zones are cut off, because ip() and cidr() refuse both.
//
// Expressions of an `on` block ([NewEventEnv]) see event and body besides job, user, now and
// request, but nothing that is known only after they were evaluated, such as params.
//
// # What will bite you
//
// Only true allows. A rule that fails while it is evaluated denies, and a missing parameter fails:
// write "K" in params && params.K == "x", or say what must hold when it is missing.
//
// The second operand of && or || may hide a failure of the first: CEL answers false for
// (failure && false) and true for (failure || true).
//
// # Limits
//
// A rule has at most 8192 characters, two comprehensions inside each other, and regular expressions
// of at most 1000 instructions, which stand in the rule as literals (or in a list of literals that it
// loops over). Its cost, in CEL's units (about 50 ns each), is limited to 100 000
// twice: by an estimate when it is compiled, and by what it really uses when it runs. The estimate
// takes for granted at most 64 parameters and 64 headers, names of 256 characters and texts of 1024;
// a loop in a loop over parameters is refused when the product of such sizes is too dear. A request
// may be larger than that: then the limit at run time denies it. matches() fails for a text that is
// too long for its pattern (bytes times instructions: 4 million), as nothing could interrupt it. The
// other functions take time linear in their text; cost is counted after each call.
//
// Expressions about a delivery work on up to 300 000 paths. For them the estimate assumes 100 000
// files and allows 10^9, and a loop may take 5 s at run time: CEL's own accounting of cost takes a
// time that grows with the square of the rounds.
package policy

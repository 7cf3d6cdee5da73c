package pgtest

// Require is require for tests of this package.
var Require = require

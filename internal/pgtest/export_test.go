package pgtest

// Require exports require for the tests of this package.
var Require = require

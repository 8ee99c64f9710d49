// Package upgrade runs releases of Prosa side by side, as while one is rolled
// out: the present one and two made of it that bring migrations of their own.
package upgrade

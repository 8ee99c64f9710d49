package shardtest

import (
	"go/ast"
	"go/constant"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

// services is the module whose statements are checked.
const services = "../.."

// withSQL are the packages of the services, and what they share, that have SQL.
var withSQL = []string{
	"./accounts/...", "./agent/...", "./channel/...", "./contacts/...", "./internal/...",
}

var sqlWords = regexp.MustCompile(`\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|JOIN|ON CONFLICT|RETURNING|ORDER BY|LIMIT)\b`)

// source is the SQL that stands in the code: constant strings, each as long as it is constant.
type source struct {
	// product maps what the services have to where it stands, tests what only tests have.
	product, tests map[string]string
}

func readSource(t *testing.T) source {
	t.Helper()
	dir, err := filepath.Abs(services)
	require.NoError(t, err)
	loaded, err := packages.Load(&packages.Config{
		// What they import comes from the build cache, not from its source.
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports |
			packages.NeedExportFile,
		Dir: dir, Env: append(os.Environ(), "GOWORK=off"), Tests: true,
	}, withSQL...)
	require.NoError(t, err)
	s := source{product: map[string]string{}, tests: map[string]string{}}
	for _, pkg := range loaded {
		for _, e := range pkg.Errors {
			require.Fail(t, "load "+pkg.ID, e.Error())
		}
		for _, file := range pkg.Syntax {
			name := pkg.Fset.Position(file.Pos()).Filename
			into := s.product
			if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(filepath.Dir(name), "storetest") {
				into = s.tests
			}
			ast.Inspect(file, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				value := pkg.TypesInfo.Types[e].Value
				if value == nil || value.Kind() != constant.String {
					return true
				}
				if text := oneLine(constant.StringVal(value)); sqlWords.MatchString(text) {
					at := pkg.Fset.Position(e.Pos())
					at.Filename, _ = filepath.Rel(dir, at.Filename)
					into[text] = at.String()
				}
				return false
			})
		}
	}
	return s
}

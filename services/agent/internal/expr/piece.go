package expr

import "context"

// Piece is a piece of a template: what its author wrote, or what an expression gives.
type Piece struct {
	// Text is what is written there. Of an expression it is empty until it is rendered, of a secret always.
	Text string
	// Expression says that an expression gives the text, and Secret is the name of the secret that stands there. A piece that is neither
	// is as its author wrote it.
	Expression bool
	Secret     string
	// Position is where the piece begins in the text that was compiled, in characters from 1.
	Position int
}

// Pieces gives the pieces in order, expressions without their texts. Two that the author wrote are never beside each other.
func (t *Template) Pieces() []Piece {
	return t.pieces(func(p *part) string { return p.literal })
}

// RenderPieces gives the pieces in order. The text of an expression that fails, or whose value is missing, is empty.
func (t *Template) RenderPieces(ctx context.Context, scope *Scope) []Piece {
	return t.pieces(func(p *part) string { return p.render(ctx, scope) })
}

func (t *Template) pieces(text func(*part) string) []Piece {
	if len(t.parts) == 0 {
		if t.literal == "" {
			return nil
		}
		return []Piece{{Text: t.literal, Position: 1}}
	}
	pieces := make([]Piece, len(t.parts))
	for i := range t.parts {
		p := &t.parts[i]
		pieces[i] = Piece{Text: text(p), Expression: p.program != nil, Secret: p.secret, Position: p.at}
	}
	return pieces
}

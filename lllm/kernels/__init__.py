"""Operations with a naive reference beside a fast form: the reference is the definition, the tests hold them equal."""

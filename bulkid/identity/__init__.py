"""The Identity Server's API and nothing else: addresses, tokens, requests and answers.

Start with ``client``: ``open_client`` gives a client whose ``send`` sends one request once. ``endpoints`` builds
requests and reads answers, ``responses`` makes replies, ``tokens`` fetches access tokens.
"""

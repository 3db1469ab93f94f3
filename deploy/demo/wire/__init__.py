"""Answers as the five providers write them: canonical usage in, the bytes that a gateway would see out.

What services/logger/usage reads, this writes. Texts are filler: nobody reads them.
"""
